"""The same application as a deployment of Ray Serve, which runs several of them and shares requests out.

`serve run rdc_codec.service.ray_deployment:app` starts one with the defaults; `:build` takes the fields of `Settings`
as `name=value`, and `replicas`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from ..errors import InputError
from .app import create_app
from .settings import Settings


def deployment(settings: Settings, replicas: int = 1) -> Application:
    """Return the service for `serve.run`: so many replicas, each with a codec and with the limits of `settings`.

    A replica asks for as many CPUs as it codes pictures at once.
    """

    def build_app() -> FastAPI:  # in each replica
        return create_app(settings)

    made = serve.deployment(
        name="rdc",
        num_replicas=replicas,
        ray_actor_options={"num_cpus": settings.at_once},
        # More than a replica has places: what is too much it refuses itself, and answers what needs none.
        max_ongoing_requests=4 * settings.places,
        max_queued_requests=settings.places,
        graceful_shutdown_timeout_s=settings.longest,
    )(serve.ingress(build_app)())
    return made.bind()


def build(args: Mapping[str, Any]) -> Application:
    """Return the service for `serve run MODULE:build name=value ...`, whose values are texts. Raises InputError."""
    given = dict(args)
    replicas = int(_number(int, given.pop("replicas", 1), "replicas"))
    kinds = get_type_hints(Settings)
    unknown = given.keys() - {field.name for field in dataclasses.fields(Settings)}
    if unknown:
        raise InputError(f"the service has no setting {', '.join(sorted(unknown))}")
    for name, value in given.items():
        for kind in (int, float):
            if kind in getattr(kinds[name], "__args__", (kinds[name],)):
                given[name] = _number(kind, value, name)
    return deployment(Settings(**given), replicas)


def _number(kind: type[int] | type[float], value: Any, name: str) -> int | float:
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{name} must be a number, got {value!r}") from None


app = deployment(Settings(workers=1))

"""Whole corpora on Ray Data: folders of pictures, WebDataset shards and Parquet become streams, and streams pictures.

`command` is `rdc corpus`. `plan` decides what is to be done, in pieces (units) that end whole or not at all; `work`
does one of them, reading with `sources` and writing with `sinks`; `engine` has them done by Ray's actors; `report`
counts. Only `engine` imports Ray. `places` opens folders, here or at a URL. None of it is imported by `rdc_codec`.
"""

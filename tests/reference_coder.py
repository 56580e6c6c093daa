"""This module codes as docs/entropy_coding.md states it, slow and obvious, with the scale network.

It uses Python integers and lists only. The native module must give the same bytes, symbols and indexes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LOW = 1 << 15
POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected


class Corrupt(ValueError):
    pass


@dataclass(frozen=True)
class Table:
    minimum: int
    cdf: list[int]

    @property
    def size(self) -> int:
        return len(self.cdf) - 2

    @property
    def maximum(self) -> int:
        return self.minimum + self.size - 1


def split_tables(cdf, sizes, minimum) -> list[Table]:
    """Return the tables, from the concatenated form that native.Tables takes."""
    tables, offset = [], 0
    for size, first in zip(sizes, minimum, strict=True):
        tables.append(Table(int(first), [int(c) for c in cdf[offset : offset + size + 2]]))
        offset += size + 2
    return tables


def lane_count(n: int) -> int:
    for lanes in (16, 8, 4, 2):
        if n >= lanes * 16384:
            return lanes
    return 1


def end_states(symbols, lanes: int) -> list[int]:
    """Return the states from which the encoder starts: the first three hold the CRC of the symbols."""
    crc = 0xFFFFFFFF
    for symbol in symbols:
        for byte in (int(symbol) & 0xFFFF).to_bytes(2, "little"):
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    parts = [crc & 0x7FFF, crc >> 15 & 0x7FFF, crc >> 30]
    return [LOW + (parts[lane] if lane < 3 else 0) for lane in range(lanes)]


def encode(symbols, indexes, tables: list[Table], precision: int) -> bytes:
    return encode_parts([(symbols, indexes, tables, precision)])


def encode_parts(parts) -> bytes:
    """Code parts, (symbols, indexes, tables, precision) each; empty ones leave no trace."""
    parts = [part for part in parts if len(part[0])]
    if not parts:
        return b""
    everything = [symbol for part in parts for symbol in part[0]]
    ends = end_states(everything, 3)
    emitted: list[int] = []
    states: list[int] = []

    def make_room(lane: int, bound: int) -> None:
        if states[lane] >= bound:
            emitted.append(states[lane] & 0xFFFF)
            states[lane] >>= 16

    def put(lane: int, value: int, bits: int) -> None:
        make_room(lane, 1 << (31 - bits))
        states[lane] = states[lane] << bits | value

    def emit_state(state: int) -> None:
        emitted.append(state & 0xFFFF)
        if state >= 1 << 16:
            emitted.append(state >> 16)

    for number, (symbols, indexes, tables, precision) in reversed(list(enumerate(parts))):
        lanes = lane_count(len(symbols))
        if number == len(parts) - 1:
            states = [ends[lane] if lane < 3 else LOW for lane in range(lanes)]
        else:
            states = [states[0]] + [LOW] * (lanes - 1)
        for i in reversed(range(len(symbols))):
            lane, table, symbol = i % lanes, tables[indexes[i]], int(symbols[i])
            k = symbol - table.minimum
            if not 0 <= k < table.size:
                negative = symbol < table.minimum
                distance = table.minimum - symbol if negative else symbol - table.maximum
                length = distance.bit_length() - 1
                put(lane, distance - (1 << length), length)
                put(lane, length << 1 | negative, 5)
                k = table.size
            start, frequency = table.cdf[k], table.cdf[k + 1] - table.cdf[k]
            make_room(lane, frequency << (31 - precision))
            quotient, remainder = divmod(states[lane], frequency)
            states[lane] = (quotient << precision) + remainder + start
        for lane in reversed(range(1, lanes)):
            emit_state(states[lane])
    emit_state(states[0])
    return b"".join(word.to_bytes(2, "little") for word in reversed(emitted))


def decode(data: bytes, indexes, tables: list[Table], precision: int, limit: int) -> list[int]:
    return decode_parts(data, [(indexes, tables, precision, limit)])[0]


def decode_parts(data: bytes, parts) -> list[list[int]]:
    """Return the symbols of parts, (indexes, tables, precision, limit) each."""
    if len(data) % 2:
        raise Corrupt("odd size")
    words = [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]
    words.reverse()  # pop() is the next word

    def next_word() -> int:
        if not words:
            raise Corrupt("truncated")
        return words.pop()

    def read_state() -> int:
        first = next_word()
        if first == 0:
            raise Corrupt("initial state")
        return first if first >= LOW else first << 16 | next_word()

    def refill(x: int) -> int:
        return x << 16 | next_word() if x < LOW else x

    def take(lane: int, bits: int) -> int:
        value = states[lane] & ((1 << bits) - 1)
        states[lane] = refill(states[lane] >> bits)
        return value

    states: list[int] = []
    decoded: list[list[int]] = []
    for indexes, tables, precision, limit in parts:
        symbols: list[int] = []
        decoded.append(symbols)
        if len(indexes) == 0:
            continue
        if states[1:] != [LOW] * len(states[1:]):
            raise Corrupt("final state")
        lanes = lane_count(len(indexes))
        states = states[:1] or [read_state()]
        states += [read_state() for _ in range(1, lanes)]
        for i, index in enumerate(indexes):
            lane, table = i % lanes, tables[index]
            x = states[lane]
            slot = x & ((1 << precision) - 1)
            k = next(k for k in range(table.size + 1) if slot < table.cdf[k + 1])
            states[lane] = refill((table.cdf[k + 1] - table.cdf[k]) * (x >> precision) + slot - table.cdf[k])
            symbol = table.minimum + k
            if k == table.size:
                header = take(lane, 5)
                length = header >> 1
                if length == 15:
                    raise Corrupt("escape length")
                distance = (1 << length) + take(lane, length)
                symbol = table.minimum - distance if header & 1 else table.maximum + distance
            if abs(symbol) > limit:
                raise Corrupt("limit")
            symbols.append(symbol)

    if words:
        raise Corrupt("trailing bytes")
    everything = [symbol for symbols in decoded for symbol in symbols]
    if states != end_states(everything, len(states)):
        raise Corrupt("final state")
    return decoded


def scale_indexes(z, layers, shuffle: int):
    """Compute the scale network in int64. layers: (weight, bias, shift, clip_max) each; z [in, h, w]."""
    plane = np.asarray(z).astype(np.int64)
    height, width = plane.shape[1:]
    for weight, bias, shift, clip_max in layers:
        kernel = weight.shape[2]
        border = kernel // 2
        padded = np.pad(plane, ((0, 0), (border, border), (border, border)))
        acc = np.zeros((len(bias), height, width), np.int64) + bias.astype(np.int64)[:, None, None]
        for dy in range(kernel):
            for dx in range(kernel):
                window = padded[:, dy : dy + height, dx : dx + width]
                acc += np.tensordot(weight[:, :, dy, dx].astype(np.int64), window, axes=1)
        k = shift.astype(np.int64)[:, None, None]
        plane = np.clip((acc + (1 << (k - 1))) >> k, 0, clip_max)
    channels = plane.shape[0] // shuffle**2
    split = plane.reshape(channels, shuffle, shuffle, height, width)
    return split.transpose(0, 3, 1, 4, 2).reshape(channels, height * shuffle, width * shuffle)


def pass_of(shape, order) -> np.ndarray:
    """Return the pass of every latent [C, h, w]."""
    c, i, j = np.indices(shape)
    return (np.asarray(order)[i % 2, j % 2] + c // (shape[0] // 4)) % 4


def context_indexes(start, symbols, neighbours, heads, order, other=None):
    """Return the table of every latent, from the first half of the scale network and all symbols, in int64.

    start [C + K, h, w]; symbols [C, h, w]; other [O, h, w]; neighbours, heads: as native.ScaleContext takes them.
    """
    start, symbols = np.asarray(start).astype(np.int64), np.asarray(symbols)
    latent, height, width = symbols.shape
    guess, features = start[:latent], start[latent:]
    passes = pass_of(symbols.shape, order)
    bits = np.vectorize(lambda s: abs(int(s)).bit_length(), otypes=[np.int64])
    weight, bias, shift, clip_max = neighbours
    head_weight, head_bias, head_shift, head_clip = heads
    k = shift.astype(np.int64)[:, None, None]
    indexes = np.zeros(symbols.shape, np.int64)
    for index in range(4):
        known = bits(np.where(passes < index, symbols, 0))
        if other is not None:
            known = np.concatenate([known, bits(other)])
        padded = np.pad(known, ((0, 0), (1, 1), (1, 1)))
        acc = (features << k) + bias[index].astype(np.int64)[:, None, None]
        for dy in range(3):
            for dx in range(3):
                window = padded[:, dy : dy + height, dx : dx + width]
                acc += np.tensordot(weight[:, :, dy, dx].astype(np.int64), window, axes=1)
        hidden = np.clip((acc + (1 << (k - 1))) >> k, 0, clip_max)
        acc = np.tensordot(head_weight[index].astype(np.int64), hidden, axes=1)
        acc += head_bias[index].astype(np.int64)[:, None, None]
        s = head_shift[index].astype(np.int64)[:, None, None]
        change = (acc + (1 << (s - 1))) >> s
        indexes = np.where(passes == index, np.clip(guess + change, 0, head_clip), indexes)
    return indexes

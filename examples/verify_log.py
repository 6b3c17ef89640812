#!/usr/bin/env python3
"""Verifies a copy of an EV Central log, with nothing but Python's standard library and nothing of EV Central.

    python3 verify_log.py FOLDER VERIFIER_KEY

FOLDER holds `checkpoint` and `tile/` as the service serves them. The signature of the checkpoint is checked, every entry
is hashed again, and the hashes have to give every tile and the root that was signed. Prints one line; exits 0 if the log is
intact, 1 if it is not. The formats are described in docs/formats.md.
"""

import base64
import hashlib
import json
import os
import struct
import sys

WIDTH = 256  # hashes in a full tile


class Fault(Exception):
    pass


# --- Ed25519, RFC 8032, section 5.1; points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z ---

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * p[3] * q[3] * D, 2 * p[2] * q[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def decode_point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_OF_MINUS_1 % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = decode_point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def is_signature(public_key, message, signature):
    a, r = decode_point(public_key), decode_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % ORDER
    left, right = multiply(s, BASE), add(r, multiply(k, a))
    return not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)


# --- the checkpoint: C2SP signed-note and tlog-checkpoint ---


def decode_base64(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Fault("base64 in another spelling")
    return data


def parse_key(text):
    name, key_id, encoded = text.split("+", 2)
    key = decode_base64(encoded)
    if len(key) != 33 or key[0] != 1:
        raise Fault("the verifier key is not an Ed25519 key")
    if hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() != key_id:
        raise Fault("the verifier key has not the id that it says")
    return name, bytes.fromhex(key_id), key[1:]


def open_checkpoint(note, name, key_id, public_key):
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise Fault("the checkpoint is not a signed note")
    text += "\n"
    ours = []
    for line in signatures[:-1].split("\n"):
        dash, signer, encoded = line.split(" ")
        signature = decode_base64(encoded)
        if dash != "\u2014":
            raise Fault("the checkpoint is not a signed note")
        if signer == name and signature[:4] == key_id:
            ours.append(signature[4:])
    if not ours:
        raise Fault("the checkpoint is not signed by this key")
    if not all(is_signature(public_key, text.encode(), signature) for signature in ours):
        raise Fault("the signature of the checkpoint is wrong")
    origin, size, root = text.split("\n")[:3]
    if origin != name or str(int(size)) != size or int(size) < 0:
        raise Fault("the checkpoint is of another log, or malformed")
    return int(size), decode_base64(root)


# --- tiles: C2SP tlog-tiles; hashes: RFC 6962, section 2.1 ---


def read_tile(folder, level, index, width):
    """The bytes of a tile, and whether it is the full one where a partial one would do, which the log then may serve."""
    digits = str(index).zfill(-(-len(str(index)) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    path = os.path.join(folder, "tile", str(level), *["x" + group for group in groups[:-1]], groups[-1])
    partial = os.path.join(path + ".p", str(width))
    is_full = width == WIDTH or not os.path.exists(partial)
    with open(path if is_full else partial, "rb") as file:
        return file.read(), is_full and width < WIDTH


def read_entries(folder, index, width):
    data, may_have_more = read_tile(folder, "entries", index, width)
    entries, at = [], 0
    while at < len(data) and len(entries) < width:
        (length,) = struct.unpack_from(">H", data, at)
        entries.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    if len(entries) != width or at > len(data) or (at < len(data) and not may_have_more):
        raise Fault(f"entry bundle {index} is malformed")
    return entries


def check_tile(folder, level, index, hashes):
    data, may_have_more = read_tile(folder, level, index, len(hashes))
    expected = b"".join(hashes)
    if data != expected and not (may_have_more and data.startswith(expected)):
        raise Fault(f"tile {index} of level {level} does not fit the entries")


def hash_node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes):
    """The root over a row of subtrees of one size."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    while len(hashes) > 1:
        pairs = [hash_node(*hashes[i : i + 2]) for i in range(0, len(hashes) - 1, 2)]
        hashes = pairs + hashes[len(pairs) * 2 :]
    return hashes[0]


def check_leaf(entry, index):
    leaf = json.loads(entry)
    if leaf["v"] == 1 and leaf["id"] != index + 1:
        raise Fault(f"entry {index} is of row {leaf['id']}, not {index + 1}")


def check_entries(folder, size):
    """Hashes every entry, and checks every tile over them. Returns the root."""
    levels = [[]]  # of each level, the hashes of the tile that is not full yet
    counts = [0]  # of each level, how many tiles are full
    for start in range(0, size, WIDTH):
        entries = read_entries(folder, start // WIDTH, min(WIDTH, size - start))
        for offset, entry in enumerate(entries):
            check_leaf(entry, start + offset)
            levels[0].append(hashlib.sha256(b"\x00" + entry).digest())
        level = 0
        while len(levels[level]) == WIDTH:
            check_tile(folder, level, counts[level], levels[level])
            if level + 1 == len(levels):
                levels.append([])
                counts.append(0)
            levels[level + 1].append(root_of(levels[level]))
            levels[level] = []
            counts[level] += 1
            level += 1
    right = None
    for level, hashes in enumerate(levels):
        if hashes:
            check_tile(folder, level, counts[level], hashes)
        # What is right of this level's hashes is smaller than any of them, so it stands as one more, on its own.
        row = hashes + ([right] if right is not None else [])
        right = root_of(row) if row else None
    return right if right is not None else root_of([])


def main():
    if len(sys.argv) != 3:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder, key = sys.argv[1:]
    try:
        name, key_id, public_key = parse_key(key)
        with open(os.path.join(folder, "checkpoint"), encoding="utf-8", newline="") as file:
            size, root = open_checkpoint(file.read(), name, key_id, public_key)
        if check_entries(folder, size) != root:
            raise Fault("the entries do not give the root that was signed")
    except (Fault, OSError, ValueError, KeyError, TypeError, struct.error) as fault:
        print(f"FAILED: {fault}")
        return 1
    print(f"OK: {name}, {size} entries, root {base64.b64encode(root).decode()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

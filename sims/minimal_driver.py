"""The smallest robot that speaks runtime/PROTOCOL.md with nothing of ours: a template for yours.

Run it as minimal_driver.py ipc:///FOLDER/SOCKET ROBOT_HASH CONTRACT_HASH (see `trimtab hashes`);
your drives go where the toy is. Left out: FAULT, observers, signals, ERROR, category 1, CURVE."""
from fcntl import LOCK_EX, LOCK_NB, flock
from math import copysign, isfinite
from os import getrandom, getuid
from pathlib import Path
from sys import argv
from time import monotonic_ns, sleep
from typing import Any

import msgpack
import zmq

JOINTS, RANGE, SPEED, BRAKE, LAG_S, DT_S = ["a", "b"], 3.0, 2.0, 5.0, 0.02, 0.002  # rad, s
PERIOD, WATCHDOG, REST, REQUEST, LEASE = (ms * 10**6 for ms in (2, 20, 100, 200, 500))  # ns
HELLO, HEARTBEAT, ARM, COMMAND, RELEASE, STOP = range(1, 7)
IDLE, ARMED, BRAKING, STOPPING, STOPPED = range(5)
ME = ["toy", True, PERIOD, LEASE, WATCHDOG, JOINTS, [["joints", 3 * len(JOINTS)]]]
# what each message is made of: u63, u32, role, category, epoch; text, bin[32], list of numbers
FORMS = ["", "uuurtbb", "uuuuuuu", "uuuuuuet", "uuuuuueuull", "uuuuuu", "uuuctt"]
WHOLE = {"u": range(2**63), "w": range(2**32), "r": range(2), "c": range(1, 3), "e": range(2**62)}
FITS: Any = {"t": lambda x: len(x.encode()) <= 256, "b": lambda x: len(x.hex()) == 64, "l": lambda
             x: type(x) is list and len(x) <= 1024 and {*map(type, x)} <= {int, float}}
folder, router = Path(argv[1].removeprefix("ipc://")).parent, zmq.Context().socket(zmq.ROUTER)
if own := folder.is_absolute():
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
if not own or (folder.lstat().st_mode & 0o170077, folder.lstat().st_uid) != (0o040000, getuid()):
    raise SystemExit(f"{argv[1]}: allowed is ipc:///FOLDER/SOCKET, your own folder of mode 0700")
flock(alone := Path(f"{argv[1][6:]}.lock").open("w"), LOCK_EX | LOCK_NB)  # one driver a robot
router.linger, router.sndhwm, router.rcvhwm, router.maxmsgsize = 0, 16, 256, 65536
router.bind(argv[1])
q, dq, target, speed = ([0.0] * len(JOINTS) for _ in range(4))
state = epoch = session = counted = newest = done = still = left = turn = 0
heard = moved = until = since = ran = report = due = now = monotonic_ns()
peer, owner, stop, drops, sent, stops, told = (b"", 0), "", (0, "", ""), [0] * 11, [0], [0], (0, 0)
# the command that is done, and the next: q, dq, count, stamp; out is what is to be sent
last, pending, waiting, out = None, None, [], []  # type: Any, Any, Any, Any
while True:  # one turn is one period of the drives, and begins with what has arrived
    while left and router.poll(0):
        (to, frame, *more), now, left = router.recv_multipart(), monotonic_ns(), left - 1
        try:  # of another version only a HELLO is read, and up to its nonce
            kind, version, *said = message = msgpack.unpackb(b"" if more else frame)
            form = FORMS[kind] if version == 1 else {HELLO: "uwu"}[kind]
            message = message if version == 1 else message[:3]
            code = 0 if all(type(x) is int and x in WHOLE[f] if f in WHOLE else FITS[f](x)
                            for f, x in zip(form, message, strict=True)) else 1
        except Exception:  # whatever a stranger sent
            code = 1
        if not code and kind == HELLO:
            nonce, its = message[2], [str(version), *(x.hex() for x in message[5:])]
            why = [(i, "", a, b) for i, a, b in zip((1, 2, 3), its, ["1", *argv[2:]]) if a != b]
            why += [(5, "commanders only", "", "")] * (message[3:4] == [0])
            lives = f"{owner!a:.99} since {(now - since) / 1e9:.1f} s"
            why += [(4, lives, "", "")] * (session > 0 and (to, nonce) != peer)
            if not why and not session:
                session, peer, owner = int.from_bytes(getrandom(7)) + 1, (to, nonce), said[2]
                counted, newest, done, sent, since = 0, 0, 0, [], now
            heard = heard if why else now
            out += [(to, 66, 1, nonce, *why[0]) if why else (to, 65, 1, nonce, session, epoch, *ME)]
        elif not code and kind == STOP:
            report, waiting = 0, [*dict.fromkeys([*waiting, (to, *said[:2])])][-64:]
            if not said[0] or said[0] not in stops:
                state, epoch, pending, stop = STOPPING, epoch + 1, None, (said[0], *said[2:])
                stops = [*stops[-999:], said[0]]
        elif not code:
            number, count, stamp, echo, *rest = said
            oldest = {HEARTBEAT: LEASE, COMMAND: min([WATCHDOG, *rest[2:3]])}.get(kind, REQUEST)
            must = [(10, session and (to, number) == (peer[0], session)), (3, count > counted)]
            must += [(2, echo in sent and now - echo <= oldest)]
            if kind == ARM:  # exactly one above: a stop meanwhile makes it old
                must += [(4, rest[0] > epoch), (8, rest[0] == epoch + 1)]
                must += [(11, still and state in (IDLE, STOPPED))]
            if kind == COMMAND:
                new, _, _, x, v = rest
                end = [a + b * (3 * DT_S + abs(b) / BRAKE / 2) for a, b in zip(x, v)]
                leap = SPEED * (min(stamp - last[3], WATCHDOG) + PERIOD) * 1e-9 if last else 0.05
                near = all(abs(a - b) <= leap for a, b in zip(x, last[0] if last else q))
                fair = all(abs(a) <= RANGE for a in x + end) and all(abs(b) <= SPEED for b in v)
                must += [(4, new >= epoch), (8, new <= epoch + 2**32), (5, state == ARMED)]
                must += [(6, len(x) == len(v) == len(q)), (7, all(map(isfinite, x + v)))]
                must += [(8, fair), (8 if last else 9, near)]
            code = next((code for code, passed in must if not passed), 0)
            if code not in (10, 3):
                counted, newest, heard = count, max(newest, stamp), heard if code == 2 else now
            if kind == ARM and not code:
                state, epoch, until, last = ARMED, rest[0], now + LEASE, None
            elif kind == COMMAND and not code:
                epoch, pending, until = rest[0], (x, v, count, stamp), echo + WATCHDOG
            session, until = (0, 0) if kind == RELEASE and not code else (session, until)
        drops[code - 1] += code > 0
    session = session if (now := monotonic_ns()) - heard <= LEASE else 0
    turn, ran, last, before = turn + 1, now if pending else ran, pending or last, target
    if state == ARMED and (not session or now > until or (last and now - ran > 3.5 * PERIOD)):
        state, epoch = BRAKING, epoch + 1
    if state == ARMED and last:
        target, (speed, done) = [a + b * (now - ran) * 1e-9 for a, b in zip(*last[:2])], last[1:3]
    else:
        speed = [copysign(max(abs(v) - BRAKE * DT_S, 0.0), v) for v in speed]
        target = [x + v * DT_S for x, v in zip(target, speed)]
    dq = [(x - y) / LAG_S for x, y in zip(target, q)]  # the toy's drives: put yours here
    q = [y + v * DT_S for y, v in zip(q, dq)]
    moved = moved if target == before and all(abs(v) <= 0.01 for v in [*dq, *speed]) else now
    still, fastest = now - moved >= REST, max(map(abs, dq))
    state = {BRAKING: IDLE, STOPPING: STOPPED}.get(state, state) if still else state
    if waiting and (still or now >= report):
        out += [(to, 70, 1, number, category == 2, 2, epoch, state, still, fastest, now,
                 "no category 1" * (category != 2)) for to, number, category in waiting]
        waiting, report = [] if still else waiting, now + WATCHDOG
    if session:
        stamp, group = monotonic_ns(), [turn, now, [*q, *dq, *[0.0] * len(q)]]
        out.append((peer[0], 67, 1, session, turn, stamp, newest, state, epoch, done, [group]))
        sent = [*sent[-249:], stamp]
    if session and told != (told := (state, now // 10**9)):
        out.append((peer[0], 69, 1, session, stamp, state, epoch, *stop, drops))
    for to, *message in out:
        router.send_multipart([to, msgpack.packb(message)])
    due, out, left, pending = max(due + PERIOD, now), [], 256, None
    sleep(max(0, due - monotonic_ns()) * 1e-9)

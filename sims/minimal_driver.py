"""The smallest robot that speaks runtime/PROTOCOL.md with nothing of ours: a template for yours.

Run it as minimal_driver.py ipc:///FOLDER/SOCKET ROBOT_HASH CONTRACT_HASH (see `trimtab hashes`);
put your drives where the toy's are. Left out: observers, signals, ERROR, category 1, CURVE keys.
"""
# ruff: noqa: B905, C901, PLR0912, PLR0915 - in one piece, to be read from top to bottom
from math import copysign, isfinite
from pathlib import Path
from secrets import randbits
from sys import argv
from time import monotonic_ns, sleep
from typing import Any

import msgpack
import zmq

JOINTS, RANGE, SPEED, BRAKE, LAG_S, DT_S = ["a", "b"], 3.0, 2.0, 5.0, 0.02, 0.002  # rad, s
PERIOD, WATCHDOG, REST, REQUEST, LEASE = (ms * 10**6 for ms in (2, 20, 100, 200, 500))  # ns
HELLO, HEARTBEAT, ARM, COMMAND, RELEASE, STOP = range(1, 7)
IDLE, ARMED, BRAKING, STOPPING, STOPPED = range(5)
OLDEST = {HEARTBEAT: LEASE, ARM: REQUEST, COMMAND: WATCHDOG, RELEASE: REQUEST}
FACTS = ["toy", True, PERIOD, LEASE, WATCHDOG, JOINTS, [["joints", 3 * len(JOINTS)]]]
FORMS = ["", "iisbb", "iiiii", "iiiiis", "iiiiiiill", "iiii", "iiss"]  # int, str, bytes, list
ONE_OF = {HELLO: (0, 1), STOP: (1, 2)}  # role, category
FITS: Any = {"i": lambda x: 0 <= x < 2**63, "s": lambda x: len(x.encode()) <= 256,
             "b": lambda x: len(x) == 32, "l": lambda x: {*map(type, x)} <= {int, float}}


def serve(socket: Any, hashes: list[bytes]) -> None:
    """Be the robot. One turn of the outer loop is one period of the drives."""
    q, dq, target, speed = ([0.0] * len(JOINTS) for _ in range(4))
    state = epoch = session = counted = newest = coasted = shown = still = 0
    heard = moved = armed = told = due = now = monotonic_ns()
    client, stop, drops, sent, stops = (b"", 0), (0, "", ""), [0] * 11, [0], [0]
    # commands are q, dq, count and the stamp that they answer; who stopped it waits for a report
    last, pending, waiting = None, None, {}  # type: Any, Any, dict[Any, int]

    def send(to: bytes, *message: Any) -> None:
        socket.send_multipart([to, msgpack.packb(message)])  # a ROUTER drops, it never waits

    while True:
        for _ in range(256):
            if not socket.poll(0):
                break
            (to, *frames), now = socket.recv_multipart(), monotonic_ns()
            try:
                kind, version, *said = message = msgpack.unpackb(b"".join(frames))
                forms = "".join(type(x).__name__[0] for x in message)
                if kind == HELLO and version != 1 and forms[:3] == "iii":
                    send(to, 66, 1, said[0], 1, "", str(version), "1")
                    continue
                right = (len(frames), version, forms) == (1, 1, "ii" + FORMS[kind])
                right = right and all(FITS[form](x) for form, x in zip(forms, message))
                code = 0 if right and said[1] in ONE_OF.get(kind, said) else 1
            except Exception:  # whatever a stranger sent
                code = 1
            if not code and kind == HELLO:
                nonce, role, _, *its = said
                why = [2 + i for i in (0, 1) if its[i] != hashes[i]]
                why += [5] * (not role) + [4] * (session > 0)
                if why and (not session or (to, nonce) != client):
                    both = [x[why[0] - 2].hex() for x in (its, hashes) if why[0] < 4]
                    send(to, 66, 1, nonce, why[0], "", *(both or ["", ""]))
                    continue
                if not session:
                    client, session, heard = (to, nonce), randbits(62) + 1, now
                    counted, newest, last, sent = 0, 0, None, []
                send(to, 65, 1, nonce, session, epoch, *FACTS)
            elif not code and kind == STOP:
                waiting = {**dict([*waiting.items()][-63:]), (to, *said[:2]): 0}
                if said[0] not in stops:
                    state, epoch, pending, stop = STOPPING, epoch + 1, None, (said[0], *said[2:])
                    stops = [*stops[-999:], said[0]]
            elif not code:
                number, count, stamp, echo, *rest = said
                oldest = min(WATCHDOG, rest[2]) if kind == COMMAND else OLDEST[kind]
                tests = [(10, session and (to, number) == (client[0], session))]
                tests += [(3, count > counted), (2, echo in sent and now - echo <= oldest)]
                if kind == ARM:
                    tests += [(4, rest[0] > epoch), (11, still and state in (IDLE, STOPPED))]
                if kind == COMMAND:
                    x, v = rest[3:]
                    at, near = (target, SPEED * WATCHDOG * 1e-9) if last else (q, 0.05)
                    tests += [(4, rest[0] >= epoch), (5, state == ARMED)]
                    tests += [(6, len(x) == len(v) == len(q)), (7, all(map(isfinite, x + v)))]
                    tests += [(8, all(abs(a) <= RANGE and abs(b) <= SPEED for a, b in zip(x, v)))]
                    tests += [(8 if last else 9, all(abs(a - b) <= near for a, b in zip(x, at)))]
                code = next((code for code, passed in tests if not passed), 0)
                counted = counted if code in (10, 3) else count
                heard, newest = (heard, newest) if code in (10, 3, 2) else (now, max(newest, stamp))
                if kind == ARM and not code:
                    state, epoch, armed, last = ARMED, rest[0], now, None
                elif kind == COMMAND and not code:
                    epoch, pending = rest[0], (x, v, count, echo)
                session = 0 if kind == RELEASE and not code else session
            drops[code - 1] += code > 0
        now = monotonic_ns()
        session = session if now - heard <= LEASE else 0
        if state == ARMED:
            coasted, last, pending = 0 if pending else coasted + 1, pending or last, None
            until = last[3] + WATCHDOG if last else armed + LEASE
            if not session or now > until or (last and coasted > 3):
                state, epoch = BRAKING, epoch + 1
            elif last:
                target, speed = [x + v * coasted * DT_S for x, v in zip(*last[:2])], last[1]
        if state != ARMED:
            speed = [copysign(max(abs(v) - BRAKE * DT_S, 0.0), v) for v in speed]
            target = [x + v * DT_S for x, v in zip(target, speed)]
        dq = [(x - y) / LAG_S for x, y in zip(target, q)]  # the toy's drives: put yours here
        q = [y + v * DT_S for y, v in zip(q, dq)]
        moved = moved if all(abs(v) <= 0.01 for v in [*dq, *speed]) else now
        still, fastest = now - moved >= REST, max(map(abs, dq))
        state = {BRAKING: IDLE, STOPPING: STOPPED}.get(state, state) if still else state
        for to, number, category in [key for key, at in waiting.items() if still or now >= at]:
            waiting[to, number, category] = now + WATCHDOG
            send(to, 70, 1, number, category == 2, 2, epoch, state, still, fastest, now, "")
        waiting = {} if still else waiting
        if session:
            sent, group = [*sent[-249:], now], [now, now, [*q, *dq, *[0.0] * len(q)]]
            count = last[2] if last else 0
            send(client[0], 67, 1, session, now, now, newest, state, epoch, count, [group])
        if session and (state != shown or now - told > 10**9):
            send(client[0], 69, 1, session, now, state, epoch, *stop, drops)
            shown, told = state, now
        due = max(due + PERIOD, now)
        sleep(max(0, due - monotonic_ns()) * 1e-9)


if __name__ == "__main__":
    router, folder = zmq.Context().socket(zmq.ROUTER), Path(argv[1].removeprefix("ipc://")).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not argv[1].startswith("ipc:///") or folder.stat().st_mode & 0o077:
        raise SystemExit(f"{argv[1]}: allowed is ipc:///FOLDER/SOCKET, the folder with mode 0700")
    for option in ((zmq.LINGER, 0), (zmq.SNDHWM, 16), (zmq.RCVHWM, 256), (zmq.MAXMSGSIZE, 65536)):
        router.setsockopt(*option)
    router.bind(argv[1])
    serve(router, [bytes.fromhex(text) for text in argv[2:]])

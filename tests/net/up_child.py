#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Stands for a role under `weir up` (up_fdstore.sh copies it beside weir as weir-tunnel): a listener that
# it takes from its starter or makes and stores there, and answers each connection with its process id
# and what it was given. FIFO "gate" in the folder of the configuration, when it is there, is read
# before anything is accepted; SIGUSR1 has the stored listener forgotten; by SIGUSR2 it drains beside its
# successor until a file "over" is in the folder.
import array, os, signal, socket, sys, time

folder = os.path.dirname(sys.argv[sys.argv.index("-c") + 1])
given = os.environ.get("LISTEN_FDNAMES", "")
assert not given or os.environ["LISTEN_PID"] == str(os.getpid())


def tell(text, fds=()):
    out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    out.sendmsg([text.encode()], rights, 0, "\0" + os.environ["NOTIFY_SOCKET"][1:])
    out.close()


def forget(*_):
    tell("FDSTOREREMOVE=1\nFDNAME=front")


def drain(*_):
    assert os.environ["WEIR_SUCCESSOR"] == "1"
    listener.close()
    tell("STOPPING=1\nX_WEIR_GIVES_WAY=1")
    while not os.path.exists(f"{folder}/over"):
        time.sleep(0.02)
    os._exit(0)


signal.signal(signal.SIGUSR2, drain)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGUSR1, forget)
names = given.split(":") if given else []
if "front" in names:
    listener = socket.socket(fileno=3 + names.index("front"))
else:
    listener = socket.create_server(("127.0.0.1", 0))
    tell("FDSTORE=1\nFDNAME=other", [os.open("/dev/null", os.O_RDONLY)])
for _ in range(2):  # the second time it is there already
    tell("FDSTORE=1\nFDNAME=front", [listener.fileno()])
with open(f"{folder}/port", "w") as out:
    out.write(str(listener.getsockname()[1]))
tell("READY=1")
if os.path.exists(f"{folder}/gate"):
    open(f"{folder}/gate").read()
while True:
    c, _ = listener.accept()
    c.sendall(f"{os.getpid()} {sys.argv[1]} {given or 'nothing'}\n".encode())
    c.close()

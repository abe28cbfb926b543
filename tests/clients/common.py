"""What the client scripts share: the server, the list of checks, waiting for something to arrive."""

import argparse
import asyncio
import os
import pathlib
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "prosody"))

from client import Server  # noqa: E402

PUBSUB = "http://jabber.org/protocol/pubsub"
AVATAR_DATA = "urn:xmpp:avatar:data"
AVATAR = "urn:xmpp:avatar:metadata"
NICK = "http://jabber.org/protocol/nick"
BOOKMARKS = "urn:xmpp:bookmarks:1"
DEVICES = "urn:xmpp:omemo:2:devices"
BLOG = "urn:xmpp:microblog:0"
ATOM = "http://www.w3.org/2005/Atom"
# A picture of one pixel.
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0"
                    "500f0004850180b3d1e5b20000000049454e44ae426082")


class Arrivals:
    """Things that came in, and a way to wait for one of them."""

    def __init__(self):
        self.all = []
        self.more = asyncio.Event()

    def add(self, thing):
        self.all.append(thing)
        self.more.set()

    async def get(self, what, wanted, seconds=5):
        deadline = time.monotonic() + seconds
        while True:
            self.more.clear()
            for thing in self.all:
                if wanted(thing):
                    return thing
            try:
                await asyncio.wait_for(self.more.wait(), deadline - time.monotonic())
            except asyncio.TimeoutError:
                raise AssertionError(f"{what} did not arrive") from None


async def refused(awaitable):
    """The error with which a request is refused."""
    try:
        await awaitable
    except Exception as error:
        return error
    raise AssertionError("not refused")


async def play(cases):
    failed = 0
    for case in cases:
        name = case.__doc__.strip().rstrip(".")
        try:
            await asyncio.wait_for(case(), 30)
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
    return failed


def main(session):
    """Starts a server and runs `session(server)`, which gives the number of failed checks."""
    p = argparse.ArgumentParser()
    p.add_argument("--version", default=os.environ.get("PROSODY", "0.12"))
    p.add_argument("--dist", default=os.environ.get("DIST_PROSODY"))
    options = p.parse_args()
    arguments = ["--version", options.version, "--contacts", "romeo@localhost,juliet@localhost"]
    if options.dist:
        arguments += ["--dist", options.dist]
    with Server(*arguments) as server:
        failed = asyncio.run(session(server))
    sys.exit(1 if failed else 0)

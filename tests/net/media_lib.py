# SPDX-License-Identifier: Apache-2.0
"""Films and assets for tests. A Lab of upload_lib (or any gateway's URL with a token) is what they are added to."""
import os
import pathlib
import shutil
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = TOP / ("build/san" if os.environ.get("SAN") else "build") / "bin"


def have_ffmpeg():
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


def make_video(path, seconds=20, size="320x180", rate=15, audio=True, still=False):
    """A film of moving test patterns with a tone, made in about a fiftieth of its duration. still: hardly any bytes."""
    source = "color=c=gray" if still else "testsrc2"
    argv = ["ffmpeg", "-nostdin", "-y", "-loglevel", "error", "-f", "lavfi", "-i",
            f"{source}{':' if still else '='}size={size}:rate={rate}:duration={seconds}"]
    if audio:
        argv += ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}", "-c:a", "aac", "-b:a", "48k", "-shortest"]
    subprocess.run([*argv, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path)], check=True, timeout=120)
    return path


def run_weir(url, token, *argv, timeout=120, env=None):
    """`weir …` at a gateway; the CompletedProcess."""
    env = {k: v for k, v in {**os.environ, "WEIR_URL": url, "WEIR_TOKEN": token, **(env or {})}.items() if v is not None}
    return subprocess.run([str(BIN / "weir"), *map(str, argv)], capture_output=True, text=True, timeout=timeout, env=env)


def add_asset(url, token, video, name, renditions="180p,90p", segment=4, preset="ultrafast", more=()):
    """`weir media add`: the CompletedProcess. name: "NAME" (bucket media) or "BUCKET/NAME"."""
    return run_weir(url, token, "media", "add", video, name, "--rendition", renditions, "--segment", str(segment), "--preset", preset,
                    *more)

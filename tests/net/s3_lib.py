# SPDX-License-Identifier: Apache-2.0
"""Shared by tests/net/s3_*.py: an installation (registry, endpoints, gateways) in namespaces of the test's own, users with
access keys, and what S3's clients need to reach it.

    from s3_lib import *
    enter("aws")
    with S3() as lab:
        lab.s3_user("ann", "--rights", "rwdla") # may everything; lab.keys["ann"] is (id, secret)
        lab.url, lab.direct                  # the gateway's address, an endpoint's
        lab.run("ann", "aws", "s3", "ls")    # a client with ann's key in its environment
    finish()

Programs come from build/bin; with UPLOAD_SAN=address,undefined from build/san/bin, as upload_lib.py has it.
"""
import hashlib
import re

from upload_lib import *

REGION = "us-east-1"
DOMAIN = "s3.test"
SEEDS = {}


def enter(*tools, hosts=()):
    """Root and tools, else a skip; then once more in namespaces where hosts (BUCKET.s3.test) are this machine."""
    if os.geteuid():
        skip("needs root")
    for tool in tools:
        if not shutil.which(tool):
            skip(f"{tool} is not installed: tools/bootstrap --tests")
    if not os.environ.get("IN_NS"):
        os.environ["IN_NS"] = "1"
        os.execvp("unshare", ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child", "--", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.NamedTemporaryFile("w", delete=False) as known:
        known.write("127.0.0.1 localhost " + " ".join([DOMAIN, *(f"{h}.{DOMAIN}" for h in hosts)]) + "\n")
    os.chmod(known.name, 0o644)
    subprocess.run(["mount", "--bind", known.name, "/etc/hosts"], check=True)
    os.unlink(known.name)


def data(size, seed=0):
    """The same pseudo-random bytes for the same size and seed: SHAKE128 of both."""
    if (size, seed) not in SEEDS:
        SEEDS[size, seed] = hashlib.shake_128(f"{size} {seed}".encode()).digest(size)
    return SEEDS[size, seed]


def md5(body):
    return hashlib.md5(body).hexdigest()


def multi_etag(*parts):
    """What S3 calls an object of parts: MD5 of the parts' MD5, and how many."""
    return hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest() + f"-{len(parts)}"


def odd_keys(count=200):
    """Keys that clients and servers are known to get wrong, filled up to count with plain ones. All are UTF-8 that XML 1.0 can
    carry, so that every client can list them; none is another's folder."""
    odd = ["plain", "with space", " leading", "trailing ", "two  spaces", "plus+plus", "a%20b", "100%", "%", "%2F", "%zz", "a&b=c", "a?b",
           "a#b", "a;b", "a:b", "a,b", "a'b", 'a"b', "a<b>c", "a\\b", "a|b", "a^b", "a`b", "a~b", "a{b}", "a[b]", "a(b)", "a!b", "a$b",
           "a@b", "a*b", "ümlaut", "u\u0308mlaut", "日本語/テキスト", "emoji-🦉", "\U00010348", "עברית", "ﷺ", "e\u0301", "Ⅻ", "\u200bzero",
           "sub/dir/key", "sub/dir/key.txt", "dots/...", "dots/.hidden", "dots/a..b", "trail/slash/x/", "CASE", "case", "Case",
           "very/" + "deep/" * 40 + "end", "ends.", "-dash", "--option=x", "=equals", "~tilde", "zero\u00a0width", "x" * 255,
           "/".join(["y" * 200] * 4), "k" * 1024, "é" * 512, "null", "undefined", "true", "0", "-1", "index.html",
           "uploads", "versions", "acl", "a=b&prefix=c"]
    return odd + [f"more/{i:04}" for i in range(count - len(odd))]


# Keys that only careful clients carry as they are: empty parts of a path, a slash in front, "." and "..", control characters.
PATH_KEYS = ["/leading", "//two", "a//b", "a///b", "end//", "./dot", "a/./b", "../up", "a/../b", "a/..", "..", ".", "..."]
# XML 1.0 cannot carry most control characters, nor a carriage return: DeleteObjects cannot name these, listings need encoding-type=url.
CONTROL_KEYS = ["tab\there", "new\nline", "ret\rurn", "bell\x07", "esc\x1b[0m", "del\x7f", "c1\u0085", "\x01"]


def fit_for_xml(key):
    return not re.search(r"[\x00-\x1f]", key)


class S3(Lab):
    """endpoints, gateways: how many. url: the first gateway; direct: the first endpoint. In the environment S3_AT=endpoint leaves
    the gateways away; S3_ENDPOINTS and S3_COPIES say how many."""

    def __init__(self, endpoints=1, gateways=1, domain=DOMAIN, more=""):
        endpoints = int(os.environ.get("S3_ENDPOINTS", endpoints))
        gateways = 0 if os.environ.get("S3_AT") == "endpoint" else gateways
        section = f"s3: {{domain: {domain}}}\n" if domain else ""
        self.keys = {}
        super().__init__(endpoints, gateways, more=section + more, endpoint_more=section + more, copies=int(os.environ.get("S3_COPIES", 1)))
        port = lambda d: f"http://127.0.0.1:{self.port[d.node]}"
        self.direct = port(self.endpoints[0])
        self.url = port(self.gateways[0]) if gateways else self.direct
        self.hosted = f"http://{DOMAIN}:{self.url.rsplit(':', 1)[1]}"

    def __exit__(self, kind, *rest):
        if not kind:
            said = [f"{d.name}: {line}" for d in self.daemons for line in d.said().splitlines()
                    if re.search("Sanitizer|runtime error|assert", line)]
            check(not said and all(d.runs() for d in self.daemons), "all daemons run, and none tells of a fault", "\n".join(said))
        return super().__exit__(kind, *rest)

    def answers_s3(self, url, name):
        """Whether the server at url knows the key: it lists buckets for it."""
        got = self.curl(name, f"{url}/")
        return got.startswith("200") and "ListAllMyBucketsResult" in got

    def curl_key(self, name):
        """curl 7.88 signs, but what S3 wants to be signed of the body has to be said by hand."""
        return ["--aws-sigv4", f"aws:amz:{REGION}:s3", "--user", ":".join(self.keys[name]), "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]

    def curl(self, name, url, *more, timeout=30):
        """curl as the user (None: nobody): "STATUS BODY"."""
        key = self.curl_key(name) if name else []
        out = self.work / "curl.out"
        got = subprocess.run(["curl", "-s", "-m", str(timeout), "-o", out, "-w", "%{http_code}", *key, *map(str, more), url],
                             capture_output=True, text=True)
        body = out.read_bytes().decode(errors="replace") if out.exists() else ""
        out.unlink(missing_ok=True)
        return f"{got.stdout} {body}"

    def s3_user(self, name, *words):
        """words: of `weir user add`; without them she may everything in every bucket. Known everywhere when it returns."""
        self.weir("user", "add", name, *words)
        return self.s3_key(name, name)

    def s3_key(self, label, name, *words):
        """One more key of the user's, with the flags of `weir user key add`: lab.keys[label]."""
        got = json.loads(self.weir("user", "key", "add", name, *words, "--json"))
        self.keys[label] = got["id"], got["secret"]
        for url in {self.url, self.direct}:
            until(lambda: self.answers_s3(url, label), 10) or self.bail(f"{url} does not know {label}: {self.curl(label, url + '/')}")
        return self.keys[label]

    def environ(self, name):
        """What clients of Amazon's read; a home of its own, so that nothing of this machine is read."""
        home = self.folder("home")
        env = {k: v for k, v in os.environ.items() if not k.upper().startswith("AWS_")}
        env |= {"HOME": str(home), "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_MAX_ATTEMPTS": "1", "AWS_PAGER": "", "NO_PROXY": "*", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
        if name:
            env |= {"AWS_ACCESS_KEY_ID": self.keys[name][0], "AWS_SECRET_ACCESS_KEY": self.keys[name][1]}
        return env

    def run(self, name, *argv, env=None, timeout=120, text=True, **more):
        """A client of the user's. One that hangs has failed: 124."""
        argv = [str(a) for a in argv]
        try:
            return subprocess.run(argv, capture_output=True, text=text, timeout=timeout, **{"stdin": subprocess.DEVNULL, **more},
                                  env={**self.environ(name), **(env or {})})
        except subprocess.TimeoutExpired as e:
            said = [(out or b"") if not text else (out or b"").decode(errors="replace") for out in (e.stdout, e.stderr)]
            return subprocess.CompletedProcess(argv, 124, *said)

    def client(self, name, url=None, secret=None, style="path", **more):
        """boto3's client of the user (None: anonymous): no retries, and it checks nothing by itself, so that the server must."""
        import boto3
        import botocore
        config = botocore.config.Config(signature_version="s3v4" if name else botocore.UNSIGNED, parameter_validation=False,
                                        retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30,
                                        s3={"addressing_style": style}, **more)
        key = self.keys.get(name, (None, None))
        made = boto3.session.Session().client("s3", endpoint_url=url or self.url, region_name=REGION, config=config,
                                              aws_access_key_id=key[0], aws_secret_access_key=secret or key[1])
        made.meta.events.unregister("before-parameter-build.s3", botocore.handlers.validate_bucket_name)
        return made


def debian_python():
    """boto3 is Debian's: runs the program once more with Debian's Python. S3_PYTHON=any stays with what runs, whose boto3 may
    be another."""
    debian = "/usr/bin/python3"
    if sys.executable != debian and not os.environ.get("S3_PYTHON") and os.path.isdir("/usr/lib/python3/dist-packages/boto3"):
        os.execv(debian, [debian, *sys.argv])
    try:
        import boto3  # noqa: F401
        import yaml  # noqa: F401
    except ImportError:
        skip("python3-boto3 and python3-yaml are not installed: tools/bootstrap --tests")


# ---- what clients of files share ------------------------------------------------------------------

def fit_for_files(keys):
    """Those that may be files of a folder: no part over 200 bytes, none that ends with a slash."""
    return [k for k in keys if not k.endswith("/") and all(0 < len(p.encode()) <= 200 for p in k.split("/")) and len(k.encode()) <= 900]


def make_tree(folder, keys):
    """A file of some bytes of its own for each key."""
    for i, key in enumerate(keys):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data(1 + i * 37 % 3000, i))


def tree_of(folder):
    """{key: MD5}"""
    return {str(p.relative_to(folder)): md5(p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def differences(wanted, got):
    """What two trees have not in common, as text; '' when they are the same."""
    lost, more = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
    other = sorted(k for k in wanted.keys() & got.keys() if wanted[k] != got[k])
    return "\n".join(f"{what}: {keys[:12]!r} ({len(keys)})" for what, keys in (("missing", lost), ("too many", more), ("other bytes", other)) if keys)


class Seconds:
    """Tells how long a client took for what: with Seconds("aws s3 sync"): …"""

    def __init__(self, what):
        self.what = what

    def __enter__(self):
        self.begun = time.monotonic()

    def __exit__(self, *_):
        print(f"# {self.what}: {time.monotonic() - self.begun:.1f} s", flush=True)


def went(got, name):
    """check() of a client that ended well."""
    return check(got.returncode == 0, name, f"{got.args}\n{got.stdout[-1500:]}\n{got.stderr[-1500:]}")

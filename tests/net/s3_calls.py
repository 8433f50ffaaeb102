#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs tests/net/s3_calls.table, the calls of boto3 with what S3 answers to them, once at a gateway and once at an endpoint.

    tests/net/s3_calls.py [--only WORD] [--at gateway|endpoint] [--verbose]
                                             the sections whose title has the word; also what passes

How a line is written is said at the head of the table. Every section has a new bucket $b of its own, which goes with it, so
that a failure in one says nothing about another. What is marked "waits" and fails is a counted skip.
"""
import argparse
import base64
import datetime
import pathlib
import re
import zlib

from s3_lib import *

TABLE = pathlib.Path(__file__).with_name("s3_calls.table")


# ---- reading the table ----------------------------------------------------------------------------

class Call:
    """One line: who, what, with which arguments, and what must come of it."""

    def __init__(self, line, number, waits):
        self.line, self.number, self.waits = line, number, waits
        asked, _, expected = line.partition(" -> ")
        words = split(asked)
        self.who = words.pop(0)[:-1] if words[0].endswith(":") else "ann"
        self.op, self.args = words[0], words[1:]
        expected = split(expected)
        self.statuses = [int(s) for s in expected[0].split("|")]
        self.code = expected[1] if len(expected) > 1 and re.fullmatch(r"[A-Z][A-Za-z0-9|]+", expected[1]) and self.statuses[0] >= 300 else None
        self.fields = expected[2 if self.code else 1:]


def split(text):
    """Words, where blanks inside quotes and brackets part nothing."""
    words, word, depth, quote = [], "", 0, ""
    for c in text.strip():
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'" and (not word or word[-1] in "=[{, ~:"):
            quote = c
        elif c in "[{":
            depth += 1
        elif c in "]}":
            depth -= 1
        if c.isspace() and not depth and not quote:
            if word:
                words.append(word)
            word = ""
        else:
            word += c
    return words + [word] if word else words


def read_table(only=None):
    """[(title, [Call])]"""
    sections, waits = [], ""
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        line = line.strip()
        if line.startswith("=="):
            title, _, waits = (part.strip() for part in line.strip("= ").partition("| waits"))
            sections.append((title, []))
        elif line and line[0] != "#":
            own = re.match(r"waits (\w+) ", line)
            sections[-1][1].append(Call(line[own.end():] if own else line, number, own[1] if own else waits))
    return [(t, c) for t, c in sections if not only or only in t]


# ---- values ---------------------------------------------------------------------------------------

def crc_of(poly, bits):
    """The table of a reflected CRC."""
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (poly if n & 1 else 0)
        table.append(n)
    mask = (1 << bits) - 1

    def crc(body):
        value = mask
        for byte in body:
            value = value >> 8 ^ table[(value ^ byte) & 255]
        return base64.b64encode((value ^ mask).to_bytes(bits // 8, "big")).decode()
    return crc


DIGESTS = {
    "md5": md5, "md5b64": lambda b: base64.b64encode(hashlib.md5(b).digest()).decode(), "size": len,
    "sha256hex": lambda b: hashlib.sha256(b).hexdigest(),
    "sha1": lambda b: base64.b64encode(hashlib.sha1(b).digest()).decode(),
    "sha256": lambda b: base64.b64encode(hashlib.sha256(b).digest()).decode(),
    "crc32": lambda b: base64.b64encode(zlib.crc32(b).to_bytes(4, "big")).decode(),
    "crc32c": crc_of(0x82F63B78, 32), "crc64": crc_of(0x9A6C9329AC4BC9B5, 64),
}


def later(seconds):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


def body_of(text):
    """@SIZE[k|m][:SEED][FROM:TO] is pseudo-random bytes, A++B one after the other, else the text itself."""
    if "++" in text:
        return b"".join(map(body_of, text.split("++")))
    got = re.fullmatch(r"@(\d+)([km]?)(?::(\d+))?(?:\[(\d*):(\d*)\])?", text)
    if not got:
        return text.encode()
    whole = data(int(got[1]) << {"": 0, "k": 10, "m": 20}[got[2]], int(got[3] or 0))
    return whole[int(got[4] or 0):int(got[5]) if got[5] else None]


def value_of(text, known):
    """A YAML value, with $variables, digests NAME(BODY), time(SECONDS from now), repeat(TEXT, COUNT)."""
    import yaml
    if text in ("$" + k for k in known):
        return known[text[1:]]
    text = re.sub(r"\$(\w+)", lambda m: str(known.get(m[1], m[0])), text)
    got = re.fullmatch(r"(\w+)\((.*)\)", text)
    if got and got[1] in DIGESTS:
        return DIGESTS[got[1]](body_of(got[2]))
    if got and got[1] == "multi":
        return multi_etag(*(body_of(p.strip()) for p in got[2].split(",")))
    if got and got[1] == "time":
        return later(int(got[2]))
    if got and got[1] == "repeat":
        word, count = got[2].rsplit(",", 1)
        return word * int(count)
    if got and got[1] == "keys":  # what DeleteObjects takes: KEY0 to KEYn
        word, count = got[2].rsplit(",", 1)
        return {"Objects": [{"Key": f"{word}{i}"} for i in range(int(count))]}
    if got and got[1] == "tags":
        return {"TagSet": [{"Key": f"k{i}", "Value": "v"} for i in range(int(got[2]))]}
    return yaml.safe_load(text) if text else ""


def arguments(call, known):
    """The call's keywords, and those of the runner (_headers, …)."""
    import yaml
    own, theirs = {}, {}
    for word in call.args[{"raw": 2, "presigned": 1}.get(call.op, 0):]:
        name, _, text = word.partition("=")
        if name == "Body":
            plain = re.sub(r"\$(\w+)", lambda m: str(known.get(m[1], m[0])), text)
            value = body_of(yaml.safe_load(plain) if plain and plain[0] in "\"'" else plain)
        else:
            value = value_of(text, known)
        (own if name.startswith("_") else theirs)[name] = value
    return own, theirs


# ---- asking ---------------------------------------------------------------------------------------

class Got:
    """What came: status, code of the error, and all fields."""

    def __init__(self, status, code, fields, headers):
        self.status, self.code, self.fields = status, code, fields
        self.fields["headers"] = {k.lower(): v for k, v in headers.items()}


class Asker:
    def __init__(self, lab, url):
        self.lab, self.url, self.clients = lab, url, {}
        self.headers, self.query = {}, {}

    def client(self, who):
        if who not in self.clients:
            if who == "wrong":
                made = self.lab.client("ann", self.url, secret="A" * 40)
            elif who == "stranger":
                self.lab.keys["stranger"] = "WEIRAAAAAAAAAAAAAAAA", "B" * 40
                made = self.lab.client("stranger", self.url)
            else:
                made = self.lab.client(None if who == "nobody" else who, self.url)
            made.meta.events.register("before-sign.s3", self.add_headers)
            self.clients[who] = made
        return self.clients[who]

    def add_headers(self, request, **_):
        for name, value in self.headers.items():
            del request.headers[name]
            request.headers[name] = str(value)

    def ask(self, call, known):
        own, theirs = arguments(call, known)
        if call.op == "raw":
            return self.raw(call, own, theirs, known)
        if call.op == "presigned":
            return self.presigned(call, own, theirs, known)
        return self.boto(call, own, theirs)

    def boto(self, call, own, theirs):
        import botocore
        self.headers = own.get("_headers", {})
        try:
            got = getattr(self.client(call.who), call.op)(**theirs)
        except botocore.exceptions.ClientError as e:
            got = e.response
        finally:
            self.headers = {}
        meta = got.pop("ResponseMetadata", {})
        if "Body" in got:
            got["Body"] = got["Body"].read()
        error = got.get("Error", {})
        return Got(meta.get("HTTPStatusCode", 200), error.get("Code"), got, meta.get("HTTPHeaders", {}))

    def presigned(self, call, own, theirs, known):
        """presigned OPERATION … : the URL is made by boto3, and asked by somebody who has no key."""
        op = call.args[0]
        url = self.client(call.who).generate_presigned_url(op, {k: v for k, v in theirs.items() if k != "Body"},
                                                           own.get("_expires", 300), own.get("_method"))
        if "_skew" in own:
            url = self.signed_at(call.who, f"{self.url}/{theirs['Bucket']}/{theirs['Key']}", own["_skew"], own.get("_expires", 300))
        for old, new in own.get("_replace", {}).items():
            url = re.sub(old, new, url)
        return self.http(own.get("_method", {"put_object": "PUT", "delete_object": "DELETE", "head_object": "HEAD"}.get(op, "GET")),
                         url, own.get("_headers", {}), theirs.get("Body"))

    def signed_at(self, who, url, skew, expires):
        """A presigned URL of another hour."""
        import botocore.auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        class Skewed(botocore.auth.S3SigV4QueryAuth):
            def _modify_request_before_signing(self, request):
                request.context["timestamp"] = later(skew).strftime("%Y%m%dT%H%M%SZ")
                super()._modify_request_before_signing(request)
        request = AWSRequest("GET", url)
        Skewed(Credentials(*self.lab.keys[who]), "s3", REGION, expires).add_auth(request)
        return request.url

    def raw(self, call, own, theirs, known):
        """raw METHOD PATH: as it stands there; signed unless nobody asks. _sign changes what is signed with: skew in seconds,
        sha256, v2."""
        import botocore.auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        method, path = call.args[0], re.sub(r"\$(\w+)", lambda m: str(known.get(m[1], m[0])), call.args[1].strip('"'))
        headers, body = dict(own.get("_headers", {})), theirs.get("Body")
        how = own.get("_sign", {})
        if call.who != "nobody":
            request = AWSRequest(method, self.url + path, {k: str(v) for k, v in headers.items()}, None if "query" in how else body)
            id, secret = self.lab.keys[call.who]
            request.context["payload_signing_enabled"] = True
            if "query" in how:
                botocore.auth.S3SigV4QueryAuth(Credentials(id, secret), "s3", REGION, how["query"]).add_auth(request)
                return self.http(method, request.url, headers, body)
            Signer(Credentials(id, secret), "s3", how.get("region", REGION), how).add_auth(request)
            headers = dict(request.headers)
            if "remove" in how:
                headers = {k: v for k, v in headers.items() if k.lower() != how["remove"].lower()}
            if "after" in how:
                headers.update(how["after"])
        return self.http(method, self.url + path, headers, body)

    def http(self, method, url, headers, body):
        """Without a library that would correct what is asked: the path goes out as it is."""
        host, _, path = url.split("://", 1)[1].partition("/")
        c = http.client.HTTPConnection(*host.split(":"), timeout=30)
        try:
            c.putrequest(method, "/" + path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                c.putheader(name, str(value))
            if body is not None and not {"content-length", "transfer-encoding"} & {h.lower() for h in headers}:
                c.putheader("Content-Length", str(len(body)))
            c.endheaders(body)
            r = c.getresponse()
            text = r.read()
        finally:
            c.close()
        code = re.search(rb"<Error>.*<Code>([^<]*)</Code>", text, re.S)
        return Got(r.status, code[1].decode() if code else None, {"Body": text}, dict(r.getheaders()))


def Signer(credentials, service, region, how):
    """botocore's, at another hour (skew) or over another hash (sha256)."""
    import botocore.auth

    class Skewed(botocore.auth.S3SigV4Auth):
        def payload(self, request):
            return how.get("sha256") or super().payload(request)

        def _modify_request_before_signing(self, request):
            if "skew" in how:
                request.context["timestamp"] = later(how["skew"]).strftime("%Y%m%dT%H%M%SZ")
            super()._modify_request_before_signing(request)
    return Skewed(credentials, service, region)


# ---- comparing ------------------------------------------------------------------------------------

def at(fields, path):
    """Contents[].Key and Buckets.0.Name and headers.etag; None when it is not there."""
    here = fields
    for part in path.split("."):
        if isinstance(here, list) and part.isdigit():
            here = here[int(part)] if int(part) < len(here) else None
        elif isinstance(here, dict) and part.endswith("[]"):
            here = here.get(part[:-2]) or []
        elif isinstance(here, list):
            here = [h.get(part) if isinstance(h, dict) else None for h in here]
        elif isinstance(here, dict):
            here = here.get(part)
        else:
            return None
    return here


def plain(value):
    """ETags without their quotes, so that a table need not write them."""
    if isinstance(value, str) and re.fullmatch(r'"[0-9a-f]{32}(-\d+)?"', value):
        return value[1:-1]
    return [plain(v) for v in value] if isinstance(value, list) else value


def wrong_field(word, got, known):
    """Why a field is not what the table says, or ''. Also keeps NAME:=FIELD."""
    keep = re.fullmatch(r"(\w+):=(\S+)", word)
    if keep:
        known[keep[1]] = plain(at(got.fields, keep[2]))
        return "" if known[keep[1]] is not None else f"no {keep[2]} came"
    if word[0] == "!":
        value = at(got.fields, word[1:])
        return "" if value in (None, []) else f"{word[1:]} is {value!r}, but should not be there"
    if word[0] == "#":
        path, _, count = word[1:].partition("=")
        value = at(got.fields, path) or []
        return "" if len(value) == int(count) else f"{len(value)} of {path}, not {count}: {str(value)[:300]}"
    path, sign, text = re.fullmatch(r"([\w.\[\]-]+)([~=]?)(.*)", word, re.S).groups()
    value = plain(at(got.fields, path))
    if not sign:
        return "" if value not in (None, []) else f"{path} did not come"
    if path == "Body" and sign == "=":
        want = body_of(re.sub(r"\$(\w+)", lambda m: str(known.get(m[1], m[0])), text.strip("'\"")))
        return "" if value == want else f"the body has {len(value or b'')} bytes {(value or b'')[:200]!r}, not {want[:60]!r}"
    if sign == "~":
        value = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        text = re.sub(r"\$(\w+)", lambda m: str(known.get(m[1], m[0])), text.strip("'"))
        return "" if re.search(text, value, re.S) else f"{path} is {value[:400]!r}, without {text}"
    want = plain(value_of(text, known))
    if path.startswith("headers."):
        want = re.sub(r"\$(\w+)", lambda m: str(known.get(m[1], m[0])), text.strip("\"'"))
    same = value == want or (not isinstance(want, (list, dict)) and str(value) == str(want))
    return "" if same else f"{path} is {value!r:.400}, not {want!r}"


def wrong(call, got, known):
    """Why the answer is not what the table says, or ''."""
    if got.status not in call.statuses:
        return f"status {got.status} {got.code or ''}, not {'|'.join(map(str, call.statuses))}: {str(got.fields)[:700]}"
    if call.code and got.status >= 300 and got.code not in call.code.split("|"):
        return f"code {got.code}, not {call.code}: {str(got.fields)[:700]}"
    if not got.fields["headers"].get("x-amz-request-id") and (call.code or got.status < 400):
        return "the answer has no x-amz-request-id"
    for word in call.fields:
        why = wrong_field(word, got, known)
        if why:
            return why
    return ""


# ---- running --------------------------------------------------------------------------------------

def remove_bucket(s3, bucket):
    """Whatever a section left: versions, uploads, policy, bucket."""
    import botocore
    def quietly(op, **args):
        try:
            return getattr(s3, op)(**args)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            return {}
    quietly("delete_bucket_policy", Bucket=bucket)
    for upload in quietly("list_multipart_uploads", Bucket=bucket).get("Uploads", []):
        quietly("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    listed = quietly("list_object_versions", Bucket=bucket)
    for item in listed.get("Versions", []) + listed.get("DeleteMarkers", []):
        quietly("delete_object", Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])
    for item in quietly("list_objects_v2", Bucket=bucket).get("Contents", []):
        quietly("delete_object", Bucket=bucket, Key=item["Key"])
    quietly("delete_bucket", Bucket=bucket)


def run_call(asker, call, known, place, verbose):
    """One TAP line."""
    import botocore
    name = f"{place}, line {call.number}: {call.line}"
    try:
        why = wrong(call, asker.ask(call, known), known)
    except (botocore.exceptions.BotoCoreError, OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError,
            AssertionError) as e:
        why = f"{type(e).__name__}: {e}"
    name = name.replace("#", "\\#")[:230]
    if why and call.waits:
        tap.tests += 1
        print(f"ok {tap.tests} - {name} # SKIP waits for {call.waits}: {why[:160]!r}", flush=True)
    else:
        check(not why, name, why.replace("\n", " "))
        if not why and call.waits and verbose:
            print("# which no longer waits")


def run_table(lab, url, place, sections, verbose):
    """$b and $c are the section's, $name what a line kept."""
    import botocore
    asker = Asker(lab, url)
    s3, today = asker.client("ann"), later(0).strftime("%Y%m%d")
    for i, (title, calls) in enumerate(sections):
        print(f"# {place}: {title}")
        known = {"b": f"{place}-{i}", "c": f"{place}-{i}-second", "host": url.split("//")[1], "ann": lab.keys["ann"][0],
                 "date": today, "midnight": today + "T000000Z", "big": "m" * 2000, "long": "m" * 2100, "crc64": DIGESTS["crc64"](b"hello"),
                 "s1": DIGESTS["sha256"](data(5 << 20, 1)), "s2": DIGESTS["sha256"](b"hello"),
                 "s12": DIGESTS["sha256"](b"".join(hashlib.sha256(p).digest() for p in (data(5 << 20, 1), b"hello")))}
        try:
            s3.create_bucket(Bucket=known["b"])
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as e:
            check(False, f"{place}: the bucket of section {title}", e)
        for call in calls:
            for d in lab.daemons:
                if not d.runs():
                    check(False, f"{place}: {d.name} runs", d.said()[-6000:])
                    lab.restart(d)
            run_call(asker, call, known, place, verbose)
        for bucket in known["b"], known["c"]:
            remove_bucket(s3, bucket)


def more_keys(lab):
    """Keys of ann's that may less than she may, and some that may nothing any more."""
    lab.s3_key("scoped", "ann", "--scope", "rwl:*/only/")
    lab.s3_key("reading", "ann", "--scope", "rl:*")
    id, _ = lab.s3_key("revoked", "ann")
    lab.weir("user", "key", "revoke", "ann", id)
    id, _ = lab.s3_key("disabled", "ann")
    lab.weir("user", "key", "disable", "ann", id)
    lab.s3_user("gone")
    lab.weir("user", "disable", "gone")
    for url in {lab.url, lab.direct}:
        for label in "revoked", "disabled", "gone":
            until(lambda: not lab.answers_s3(url, label), 10)


def main():
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--only", help="sections whose title has this word")
    arg.add_argument("--at", choices=("gateway", "endpoint"), help="there alone")
    arg.add_argument("--verbose", action="store_true")
    arg.add_argument("--count", action="store_true", help="says how many calls the table has")
    opt = arg.parse_args()
    sections = read_table(opt.only)
    if opt.count:
        calls = [c for _, cs in sections for c in cs]
        print(f"{len(calls)} calls in {len(sections)} sections, {sum(c.op == 'raw' for c in calls)} of them raw, "
              f"{sum(bool(c.waits) for c in calls)} wait")
        return
    debian_python()
    enter()
    opt.at = opt.at or os.environ.get("S3_AT")
    with S3(gateways=0 if opt.at == "endpoint" else 1) as lab:
        lab.s3_user("ann", "--rights", "rwdla")
        lab.s3_user("bob", "--rights", "none")
        lab.s3_user("rita", "--rights", "rl")
        more_keys(lab)
        for place, url in (("gateway", lab.url), ("endpoint", lab.direct)):
            if opt.at in (None, place):
                run_table(lab, url, place, sections, opt.verbose)
    finish()


if __name__ == "__main__":
    main()

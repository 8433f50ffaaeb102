# SPDX-License-Identifier: Apache-2.0
"""What a gateway does of S3 beside carrying: strangers stay outside, hosts, Expect, an endpoint that is gone or dies, a client
that goes away, many at once; and objects of parts through it. Needs root. Exit: 0 pass, 1 fail, 77 skip."""
import http.client
import socket
import threading

from s3_lib import *

debian_python()
enter("curl", hosts=["first"])
PART = 5 << 20


def code(call, **words):
    """What a call of boto3's ends with: 'ok' or the error's code."""
    try:
        call(**words)
        return "ok"
    except Exception as e:  # noqa: BLE001
        return getattr(e, "response", {}).get("Error", {}).get("Code", repr(e))


class Copies(S3):
    """Two of each."""

    def daemon(self, role, node, sections):
        return super().daemon(role, node, sections.replace("copies: 1", "copies: 2"))


def carried(lab):
    return json.loads(lab.ask(lab.gateways[0].node, "gateway", {"do": "status"}))["requests"]


os.environ["WEIR_S3_EARLY_MS"] = "0"  # what takes long does so at once
with Copies(endpoints=2) as lab:
    lab.s3_user("ann", "--rights", "rwdla")
    s3 = lab.client("ann")
    check(code(s3.create_bucket, Bucket="first") == "ok", "a bucket is made through the gateway")
    body = data(300000)
    put = s3.put_object(Bucket="first", Key="a/b c+d%", Body=body, Metadata={"hue": "red"}, ContentType="x/y")
    check(put["ETag"] == f'"{md5(body)}"', "an object is put")
    got = s3.get_object(Bucket="first", Key="a/b c+d%")
    check(got["Body"].read() == body and got["Metadata"] == {"hue": "red"} and got["ContentType"] == "x/y", "and got, with what was said of it")
    part = s3.get_object(Bucket="first", Key="a/b c+d%", Range="bytes=100000-299998")
    check(part["Body"].read() == body[100000:299999], "a range of it")
    head = s3.head_object(Bucket="first", Key="a/b c+d%")
    check(head["ContentLength"] == 300000, "HEAD has its length")
    check(code(s3.get_object, Bucket="first", Key="none") == "NoSuchKey", "the endpoint's errors are the client's")
    hosted = lab.client("ann", url=lab.hosted, style="virtual")
    check(hosted.get_object(Bucket="first", Key="a/b c+d%")["Body"].read() == body, "virtual-host style")

    # ---- by path an object comes from the console's own host: what a browser might run is told to stand in a sandbox
    def sandboxed(kind, **more):
        s3.put_object(Bucket="first", Key="page", Body=b"<html xmlns='http://www.w3.org/1999/xhtml'><script/></html>", ContentType=kind)
        found = set()
        for one, at in (s3, ""), (hosted, "hosted "), (lab.client("ann", url=lab.direct), "direct "):
            for op in ("get_object",) if more else ("get_object", "head_object"):
                h = getattr(one, op)(Bucket="first", Key="page", **more)["ResponseMetadata"]["HTTPHeaders"]
                found.add((at + str("sandbox" in h.get("content-security-policy", "")), h.get("x-content-type-options")))
        return found

    open_ = {("False", "nosniff"), ("hosted False", "nosniff"), ("direct False", "nosniff")}
    shut = {("True", "nosniff"), ("hosted False", "nosniff"), ("direct True", "nosniff")}
    for kind in "text/html", "text/xsl", "multipart/x-mixed-replace;boundary=b", "image/svg+xml", "message/rfc822", "text/plain, text/html", "x/y":
        got = sandboxed(kind)
        check(got == shut, f"{kind} stands in a sandbox by path, in no other by its own host", got)
    for kind in "image/png", "text/plain; charset=utf-8", "text/csv", "application/octet-stream", "video/mp4":
        got = sandboxed(kind)
        check(got == open_, f"{kind} needs none", got)
    for kind in "text/xsl", "multipart/x-mixed-replace;boundary=b":
        got = sandboxed("text/plain", ResponseContentType=kind, ResponseContentDisposition="inline")
        check(got == shut, f"nor does a link that calls it {kind} go around that", got)
    got = sandboxed("text/xsl", ResponseContentType="text/plain")
    check(got == open_, "what counts is what is told", got)

    # ---- strangers
    before = carried(lab)["carried"]
    check(code(lab.client("ann", secret="x" * 40).list_buckets) == "SignatureDoesNotMatch", "a wrong secret")
    lab.keys["nobody"] = ("WEIRAAAAAAAAAAAAAAAA", "x" * 40)
    check(code(lab.client("nobody").list_buckets) == "InvalidAccessKeyId", "an unknown key")
    old = lab.curl(None, f"{lab.url}/first/x", "-H", "Authorization: AWS abc:def")
    check(old.startswith("400") or old.startswith("403"), "signatures of version 2 are refused", old)
    check(carried(lab)["carried"] == before, "none of them came to an endpoint")
    page = lab.curl(None, f"{lab.url}/")
    check(page.startswith("200") and "<html" in page.lower(), "/ without a signature is the console")

    # ---- Expect: a refusal comes before the body
    with socket.create_connection(("127.0.0.1", lab.port[lab.gateways[0].node])) as sock:
        sock.sendall(b"PUT /first/big HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\n"
                     b"Authorization: AWS4-HMAC-SHA256 Credential=WEIRAAAAAAAAAAAAAAAA/20260101/us-east-1/s3/aws4_request, "
                     b"SignedHeaders=host, Signature=" + b"0" * 64 + b"\r\n\r\n")
        sock.settimeout(5)
        first = sock.recv(4096)
    check(first.startswith(b"HTTP/1.1 40"), "who is refused is not asked for the body", first[:200])
    big = lab.work / "big"
    big.write_bytes(data(3 << 20))
    sent = lab.curl("ann", f"{lab.url}/first/big", "-H", "Expect: 100-continue", "-X", "PUT", "-T", big)
    check(sent.startswith("200"), "who is not sends it", sent)
    check(s3.get_object(Bucket="first", Key="big")["Body"].read() == big.read_bytes(), "and it is there")

    # ---- the endpoint refuses: the client hears of it, whether it waits, holds back, or sends all before it listens
    lab.s3_user("bob", "--rights", "l")
    bob = lab.client("bob", url=lab.url)
    at = ("127.0.0.1", lab.port[lab.gateways[0].node])
    link = bob.generate_presigned_url("put_object", Params={"Bucket": "first", "Key": "bobs"}).split(str(at[1]), 1)[1]

    def refused(more, body, length):
        with socket.create_connection(at) as sock:
            sock.settimeout(5)
            sock.sendall(f"PUT {link} HTTP/1.1\r\nHost: 127.0.0.1:{at[1]}\r\nContent-Length: {length}\r\n{more}\r\n".encode())
            for _ in range(len(body) and length // len(body) if length < 10**9 else 1):
                sock.sendall(body)
            said = b""
            while b"</Error>" not in said and (piece := sock.recv(65536)):
                said += piece
            return said

    for what, args in (("that waits", ("Expect: 100-continue\r\n", b"", 5 * 10**9)), ("that holds back", ("", b"x" * 1000, 4 * 10**9)),
                       ("that holds back little", ("", b"x", 10**9)), ("that sends all", ("", b"x" * (1 << 20), 40 << 20))):
        said = refused(*args)
        check(said.startswith(b"HTTP/1.1 403") and b"<Code>AccessDenied</Code>" in said, f"a client {what} is told AccessDenied", said[:300])
    check(code(bob.put_object, Bucket="first", Key="bobs", Body=data(3 << 20) * 8) == "AccessDenied", "boto3, too")
    huge = lab.work / "huge"
    huge.write_bytes(data(3 << 20) * 8)
    for expect in "Expect: 100-continue", "Expect:":
        sent = lab.curl("bob", f"{lab.url}/first/bobs", "-H", expect, "-X", "PUT", "-T", huge)
        check(sent.startswith("403") and "AccessDenied" in sent, f"and curl ({expect})", sent)

    # ---- what the server refuses by itself is XML for who speaks S3
    for place in lab.url, lab.direct:
        for status, name, words in ((400, "RequestHeaderSectionTooLarge", ["-H", "x-amz-meta-a: " + "y" * 20000]), (501, "NotImplemented", ["-X", "BREW"]),
                                    (400, "BadRequest", ["-H", "Host: a b"])):
            said = lab.curl(None, f"{place}/first/x", *words)
            check(said.startswith(str(status)) and f"<Code>{name}</Code>" in said and "<RequestId>" in said, f"{name} comes as XML", said)

    # ---- a copy that takes long answers early; here: all do
    for place in lab.url, lab.direct:
        one = lab.client("ann", url=place)
        said = one.copy_object(Bucket="first", Key="copy", CopySource="first/big")
        check(said["CopyObjectResult"]["ETag"] == f'"{md5(big.read_bytes())}"' and "content-length" not in said["ResponseMetadata"]["HTTPHeaders"],
              "a slow copy's answer begins before its end", said)
        check(one.get_object(Bucket="first", Key="copy")["Body"].read() == big.read_bytes(), "and it is made")
        text = lab.curl("ann", f"{place}/first/copy", "-X", "PUT", "-H", "x-amz-copy-source: /first/big", "-H", "If-None-Match: *")
        check(re.match(r"200 <\?xml [^>]*\?>\s+<Error><Code>PreconditionFailed</Code>.*</Error>\s*$", text, re.S), "an error is the end of its 200", text)
    check(code(one.copy_object, Bucket="first", Key="none", CopySource="first/none") == "NoSuchKey", "what is wrong from the first is no 200")
    # clients that go away in the middle end it, and nobody waits for them
    s3.put_object(Bucket="first", Key="huge", Body=huge.read_bytes())
    host = lab.direct.split("//")[1]
    left = [socket.create_connection(("127.0.0.1", lab.port[lab.endpoints[0].node])) for _ in range(8)]
    for n, sock in enumerate(left):
        link = lab.client("ann", url=lab.direct).generate_presigned_url("copy_object", Params={"Bucket": "first", "Key": f"left{n % 3}", "CopySource": "first/huge"})
        sock.sendall(f"PUT {link.split(host, 1)[1]} HTTP/1.1\r\nHost: {host}\r\nx-amz-copy-source: first/huge\r\nIf-None-Match: *\r\nContent-Length: 0\r\n\r\n".encode())
    for sock in left:
        sock.settimeout(20)
        check(sock.recv(4096).startswith(b"HTTP/1.1 200"), "a copy has begun")
        sock.close()
    asked = [lab.curl(None, f"{lab.direct}/_/health", timeout=5)[:3] for _ in range(8)]
    check(asked == ["200"] * 8 and code(one.head_object, Bucket="first", Key="big") == "ok", "their clients went away", asked)

    # ---- another sealing key: nobody stops, and what was encrypted before opens
    s3.put_object(Bucket="first", Key="sealed", Body=body, ServerSideEncryption="AES256")
    told = [json.loads(lab.weir("user", "key", "reseal", "--json")) for _ in range(2)]
    check([(t["made"], t["resealed"] >= 2, t["older"]) for t in told] == [(True, True, 1), (True, True, 2)], "the sealing key is changed, twice", told)
    for place in lab.url, lab.direct:
        one = lab.client("ann", url=place)
        until(lambda: code(one.head_object, Bucket="first", Key="sealed") == "ok", 5)
        check(one.get_object(Bucket="first", Key="sealed")["Body"].read() == body, "access keys sign, and encrypted objects open as before")
    check(code(s3.put_object, Bucket="first", Key="sealed2", Body=b"x", ServerSideEncryption="AES256") == "ok", "new ones are encrypted")

    # ---- parts
    up = s3.create_multipart_upload(Bucket="first", Key="parts", ContentType="a/b")["UploadId"]
    pieces = [data(PART, 1), data(PART, 2), data(70000, 3)]
    tags = [s3.upload_part(Bucket="first", Key="parts", UploadId=up, PartNumber=i + 1, Body=p)["ETag"] for i, p in enumerate(pieces)]
    check([p["Size"] for p in s3.list_parts(Bucket="first", Key="parts", UploadId=up)["Parts"]] == [len(p) for p in pieces], "parts are listed")
    check([u["UploadId"] for u in s3.list_multipart_uploads(Bucket="first").get("Uploads", [])] == [up], "so is their upload")
    check(code(s3.get_object, Bucket="first", Key="parts") == "NoSuchKey", "nothing is there before it is completed")
    listed = {"Parts": [{"PartNumber": i + 1, "ETag": t} for i, t in enumerate(tags)]}
    bad = {"Parts": [{"PartNumber": 1, "ETag": tags[1]}]}
    check(code(s3.complete_multipart_upload, Bucket="first", Key="parts", UploadId=up, MultipartUpload=bad) == "InvalidPart", "another part's ETag")
    check(code(s3.complete_multipart_upload, Bucket="first", Key="parts", UploadId=up, MultipartUpload={"Parts": listed["Parts"][::-1]}) == "InvalidPartOrder", "parts in disorder")
    done = s3.complete_multipart_upload(Bucket="first", Key="parts", UploadId=up, MultipartUpload=listed)
    check(done["ETag"] == f'"{multi_etag(*pieces)}"', "the ETag is of the parts'", done)
    whole = b"".join(pieces)
    got = s3.get_object(Bucket="first", Key="parts")
    check(got["Body"].read() == whole and got["ContentType"] == "a/b" and got["ContentLength"] == len(whole), "they are one object")
    for first, last in [(0, 0), (PART - 1, PART), (PART, 2 * PART - 1), (PART - 10, len(whole) - 1)]:
        got = s3.get_object(Bucket="first", Key="parts", Range=f"bytes={first}-{last}")["Body"].read()
        check(got == whole[first:last + 1], f"bytes {first} to {last}")
    two = s3.get_object(Bucket="first", Key="parts", PartNumber=2)
    check(two["Body"].read() == pieces[1] and two["PartsCount"] == 3, "part 2 of it")
    again = s3.complete_multipart_upload(Bucket="first", Key="parts", UploadId=up, MultipartUpload=listed)
    check(again["ETag"] == done["ETag"], "completing again gives the same")
    up = s3.create_multipart_upload(Bucket="first", Key="small")["UploadId"]
    tags = [s3.upload_part(Bucket="first", Key="small", UploadId=up, PartNumber=n, Body=b"x" * 10)["ETag"] for n in (3, 7)]
    listed = {"Parts": [{"PartNumber": n, "ETag": t} for n, t in zip((3, 7), tags)]}
    check(code(s3.complete_multipart_upload, Bucket="first", Key="small", UploadId=up, MultipartUpload=listed) == "EntityTooSmall", "parts that are too small")
    check(code(s3.abort_multipart_upload, Bucket="first", Key="small", UploadId=up) == "ok", "an upload is aborted")
    check(code(s3.list_parts, Bucket="first", Key="small", UploadId=up) == "NoSuchUpload", "and gone")
    check(code(s3.upload_part, Bucket="first", Key="small", UploadId=up, PartNumber=1, Body=b"x") == "NoSuchUpload", "it takes no parts")
    up = s3.create_multipart_upload(Bucket="first", Key="copied")["UploadId"]
    tags = [s3.upload_part_copy(Bucket="first", Key="copied", UploadId=up, PartNumber=n + 1, CopySource={"Bucket": "first", "Key": "parts"}, **r)["CopyPartResult"]["ETag"]
            for n, r in enumerate([{}, {"CopySourceRange": f"bytes=5-{PART + 4}"}])]
    listed = {"Parts": [{"PartNumber": n + 1, "ETag": t} for n, t in enumerate(tags)]}
    check(code(s3.complete_multipart_upload, Bucket="first", Key="copied", UploadId=up, MultipartUpload=listed) == "ok", "parts are copied")
    check(s3.get_object(Bucket="first", Key="copied")["Body"].read() == whole + whole[5:PART + 5], "with their bytes")

    # ---- many at once
    wrong = []

    def several(n):
        mine = lab.client("ann")
        for i in range(8):
            mine.put_object(Bucket="first", Key=f"many/{n}/{i}", Body=data(1000 * (n + 1), i))
            if mine.get_object(Bucket="first", Key=f"many/{n}/{i}")["Body"].read() != data(1000 * (n + 1), i):
                wrong.append((n, i))

    threads = [threading.Thread(target=several, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    check(not wrong and len(s3.list_objects_v2(Bucket="first", Prefix="many/").get("Contents", [])) == 64, "eight clients at once", wrong)

    # ---- a client that goes away leaves nothing
    with socket.create_connection(("127.0.0.1", lab.port[lab.gateways[0].node])) as sock:
        sock.sendall(b"GET /first/parts HTTP/1.1\r\nHost: x\r\n\r\n")
    slow = http.client.HTTPConnection("127.0.0.1", lab.port[lab.gateways[0].node], timeout=5)
    slow.putrequest("PUT", "/first/half")
    slow.putheader("Content-Length", "1000000")
    slow.endheaders()
    slow.send(b"x" * 1000)
    active = lambda: json.loads(lab.ask(lab.gateways[0].node, "gateway", {"do": "status"}))["s3"]["active"]
    check(until(lambda: active() == 1, 5), "a body on its way")
    time.sleep(0.2)  # libmicrohttpd sees an end that comes together with the head at its time-out alone
    slow.close()
    check(until(lambda: active() == 0, 10), "clients that went away are forgotten")

    # ---- an endpoint dies: what was not told goes on at the other, what was is cut, and the client tries again
    one, other = lab.endpoints
    other.kill()
    check(until(lambda: code(s3.get_object, Bucket="first", Key="parts") == "ok", 20), "one of two endpoints is dead: the other has it")
    check({code(s3.get_object, Bucket="first", Key="a/b c+d%") for _ in range(10)} == {"ok"}, "every time")
    lab.restart(other)
    until(lambda: lab.members(lab.gateways[0]) == 2, 10)
    wrong, went_on = [], threading.Event()

    def reader():
        while not went_on.is_set():
            try:
                if s3.get_object(Bucket="first", Key="parts")["Body"].read() != whole:
                    wrong.append("other bytes")
            except Exception as e:  # noqa: BLE001
                if "ServiceUnavailable" not in str(e) and "IncompleteRead" not in str(e) and "Connection broken" not in str(e):
                    wrong.append(repr(e))

    thread = threading.Thread(target=reader)
    thread.start()
    for victim in one, other:
        lab.restart(victim)
        until(lambda: code(s3.head_object, Bucket="first", Key="parts") == "ok", 10)
    went_on.set()
    thread.join()
    check(not wrong, "endpoints that die in the middle: the right bytes, or an error", wrong[:5])
    other.kill()
    lab.endpoints[0].kill()
    check(until(lambda: code(s3.list_buckets) == "ServiceUnavailable", 20), "all are: ServiceUnavailable")
    lab.endpoints[0].start()
    other.start()
    check(until(lambda: code(s3.get_object, Bucket="first", Key="parts") == "ok", 30), "they are back")
finish()

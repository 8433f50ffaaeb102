# SPDX-License-Identifier: Apache-2.0
"""An endpoint whose second copy is gone writes no names, and whoever asks for many hears so in the time that one takes; it ends when
it is told to, whatever waits. Needs root. Exit: 0 pass, 1 fail, 77 skip."""
import threading

from s3_lib import *

debian_python()
enter()
KEYS = [f"k{i}" for i in range(12)]
ONE_S = 10              # NAMES_TIMEOUT_MS


def delete_all(s3, told):
    begun = time.monotonic()
    try:
        told.append(s3.delete_objects(Bucket="first", Delete={"Objects": [{"Key": k} for k in KEYS]}))
    except Exception as e:  # noqa: BLE001
        told.append({"Errors": [{"Code": repr(e)}]})
    told.append(time.monotonic() - begun)


os.environ["S3_COPIES"] = "2"
with S3(endpoints=2, gateways=0) as lab:
    lab.s3_user("ann", "--rights", "rwdla")
    s3 = lab.client("ann", url=lab.direct)
    until(lambda: lab.curl("ann", f"{lab.direct}/first", "-X", "PUT").startswith("200")) or lab.bail("a bucket cannot be made")
    for key in KEYS:
        s3.put_object(Bucket="first", Key=key, Body=b"x")
    until(lambda: (lab.key("names/first") or {}).get("secondary")) or lab.bail("the bucket has no second copy")
    lab.endpoints[1].kill()
    lab.daemons.remove(lab.endpoints[1])
    told = []
    delete_all(s3, told)
    codes = {e["Code"] for e in told[0].get("Errors", [])}
    check(len(told[0].get("Errors", [])) == len(KEYS) and codes <= {"ServiceUnavailable", "GatewayTimeout"}, "no key is called deleted", told)
    check(told[1] < 2 * ONE_S, f"and that takes the time of one ({told[1]:.1f} s), not of {len(KEYS)}")
    check(len(s3.list_objects_v2(Bucket="first").get("Contents", [])) == len(KEYS), "all are there yet")
    told = []
    asks = threading.Thread(target=delete_all, args=(s3, told), daemon=True)
    asks.start()
    flight = lambda: lab.curl(None, f"http://127.0.0.1:{lab.inside[lab.endpoints[0].node]}/_/metrics")
    until(lambda: re.search(r"(?m)^weir_http_requests_in_flight\{.*\} [1-9]", flight()), 5) or lab.bail("it does not wait")
    begun = time.monotonic()
    rc = lab.endpoints[0].stop(60)
    took = time.monotonic() - begun
    check(rc == 0 and took < 2 * ONE_S, f"told to end meanwhile it does, in good order ({took:.1f} s)", rc)
    asks.join(5)
    lab.daemons.remove(lab.endpoints[0])
finish()

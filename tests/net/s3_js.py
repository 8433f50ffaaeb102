#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""@aws-sdk/client-s3 of npm at a gateway: see s3_js.mjs, which does it."""
from s3_lib import *


def main():
    if not os.environ.get("NODE_MODULES"):
        made = subprocess.run([TOP / "tests/npm/install"], capture_output=True, text=True)
        if made.returncode:
            skip(made.stderr.strip().removeprefix("skip: ") or "npm could not install")
        os.environ["NODE_MODULES"] = made.stdout.strip()
    enter("node", hosts=("javascript",))
    with S3() as lab:
        lab.s3_user("ann", "--rights", "rwdla")
        keys = lab.work / "keys.json"
        keys.write_text(json.dumps(odd_keys(200) + PATH_KEYS[:5] + list(filter(fit_for_xml, CONTROL_KEYS))))
        got = lab.run("ann", "node", TOP / "tests/net/s3_js.mjs", lab.url, lab.hosted, keys, timeout=100,
                      env={"NODE_MODULES": os.environ["NODE_MODULES"], "NODE_NO_WARNINGS": "1"})
        for line in got.stdout.splitlines():
            found = re.match(r"(not ok|ok) (.*)", line)
            check(found[1] == "ok", found[2]) if found else print(line, flush=True)
        check(got.returncode == 0, "node ends well", got.stderr[-3000:])
    finish()


if __name__ == "__main__":
    main()

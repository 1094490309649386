"""Lets schemathesis make up requests from /openapi.json. Arguments: address, token, the server's time."""

import pathlib
import subprocess
import sys
import tempfile

address, token, _ = sys.argv[1:]
SEED = 20261120
command = [
    pathlib.Path(sys.executable).parent / "schemathesis", "run", f"http://{address}/openapi.json",
    "--header", f"Authorization: Bearer {token}",
    "--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", str(SEED), "--continue-on-failure",
    # Methods of the vendor's that are not offered, and say so with 501.
    "--exclude-path-regex", "^/iam/v1/tokens:",
    # Not these two: the document does not tell every limit that the comments tell, and requests may be more
    # lenient than it says (numbers for 64-bit integers, null for what is absent).
    "--checks", "all", "--exclude-checks", "positive_data_acceptance,negative_data_rejection",
]
with tempfile.TemporaryDirectory() as directory:
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True)
assert ran.returncode == 0, ran.stdout + ran.stderr
assert "Tested:" in ran.stdout, ran.stdout
print(f"schemathesis found nothing (seed {SEED})")

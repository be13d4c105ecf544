"""Runs a command beside a server that speaks S3 and has the bucket `mirror`: serve.py -- COMMAND..."""
import logging, os, subprocess, sys

import boto3
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
environment = {"AWS_ENDPOINT": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests",
               "AWS_REGION": "us-east-1"}
s3 = boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT"], aws_access_key_id="tests", aws_secret_access_key="tests",
                  region_name="us-east-1")
s3.create_bucket(Bucket="mirror")
ended = subprocess.run(sys.argv[sys.argv.index("--") + 1:], env={**os.environ, **environment}).returncode
server.stop()
sys.exit(ended)

"""Asks Prometheus for every expression of the dashboard and of the alerts: ask.py URL REPOSITORY. Each must return data."""

import json
import re
import sys
import urllib.parse
import urllib.request

URL, REPOSITORY = sys.argv[1:]


def operands(expression):
    """A comparison drops the series for which it does not hold, so only what it compares must return data."""
    for part in expression.split(" and "):
        yield re.split(r"\s+(?:>|==)\s+", part)[0]


def expressions():
    with open(f"{REPOSITORY}/config/grafana.json", encoding="utf-8") as file:
        for panel in json.load(file)["panels"]:
            for target in panel["targets"]:
                yield from operands(target["expr"].replace("$node", ".*").replace("$__rate_interval", "20s"))
    with urllib.request.urlopen(f"{URL}/api/v1/rules") as answer:
        for group in json.load(answer)["data"]["groups"]:
            for rule in group["rules"]:
                yield from operands(rule["query"])


failed = 0
for expression in expressions():
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{URL}/api/v1/query?{query}") as answer:
        found = json.load(answer)["data"]["result"]
    values = [sample["value"][1] for sample in found if sample["value"][1] != "NaN"]
    print(f"{len(values):4} values  {expression}")
    failed += not values
sys.exit(f"{failed} expressions return nothing" if failed else 0)

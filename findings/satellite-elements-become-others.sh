#!/usr/bin/env bash
# Six libraries of PyPI and npm read valid two-line elements of satellites as others: new catalogue numbers become 0 or 16796161, old
# elements are of 2057, the number of orbits is ten times as high, and a derivative a hundred thousand million times, with no error.
#
# Guess: the format (Space-Track, "Basic Description of the Two Line Element Set (TLE) Format") has the catalogue number in columns 3 to 7,
# with a letter for the first two digits from 100000 on ("Alpha-5": A is 10, I and O are left out, Z is 33); the launch piece in 15 to 17;
# the epoch's year in 19 and 20, of which 57 to 99 are 1957 to 1999 (CelesTrak, "Frequently Asked Questions: Two-Line Element Set
# Format"); the second derivative of the mean motion in 45 to 52 as five digits behind a point and a power of ten; the number of orbits in
# 64 to 68 of line 2, and a checksum in 69. A reader gives these values.
#
# Seen 2026-12-01; sgp4 2.27 of PyPI reads all of them right, and so does satellite.js 7.1.0 of npm, which leaves the number as it stands,
# as do pyorbital and orbital-elements:
#
#   A0001, which is 100001         ephem 4.2.1: 0, tle.js 5.0.3: not a number, satelles 0.32.0: 16796161
#   an epoch of 57, so of 1957     pyorbital 1.13.0 and orbital-elements 0.0.1: 2057; ootk-core 1.3.1 has an error
#   orbits and checksum            satelles takes them for one number, so 12345 is 123454
#   -12345-6, which is -1.2345e-7  ootk-core: -12345
#   piece ABC of a launch          orbital-elements: A
#
# So whoever tells satellites apart by number, or has elements of old ones, should compare with sgp4.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
for program in node npm python3; do command -v "$program" >/dev/null || { echo "$program is missing"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export TZ=UTC
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . tle.js@5.0.3 ootk-core@1.3.1 satellite.js@7.1.0 >/dev/null
python3 -m venv venv
install=(venv/bin/pip install --quiet --disable-pip-version-check)
{ "${install[@]}" sgp4==2.27 satelles==0.32.0 ephem==4.2.1 numpy==2.4.6 requests==2.34.2 defusedxml==0.7.1 donfig==0.8.1.post1 pytz==2026.6
  "${install[@]}" --no-deps pyorbital==1.13.0 orbital-elements==0.0.1; } >pip.log 2>&1 || { cat pip.log; exit 2; }
cat > node.mjs <<'JS'
import { readFileSync, writeFileSync } from 'node:fs'
import { Tle } from 'ootk-core'
import { twoline2satrec } from 'satellite.js'
import * as tle from 'tle.js'
const year = (jd) => new Date((jd - 2440587.5) * 86400000).getUTCFullYear()
const libraries = {
  'satellite.js': lines => {
    const { satnum, jdsatepoch, nddot } = twoline2satrec(...lines)
    return { number: satnum, year: year(jdsatepoch), derivative: nddot * 1440 ** 3 / (2 * Math.PI) }
  },
  'tle.js': lines => {
    const text = lines.join('\n')
    return {
      number: tle.getCatalogNumber(text),
      year: new Date(tle.getEpochTimestamp(text)).getUTCFullYear(),
      derivative: tle.getSecondTimeDerivative(text),
      orbits: tle.getRevNumberAtEpoch(text),
      piece: tle.getIntDesignatorPieceOfLaunch(text)
    }
  },
  'ootk-core': lines => {
    const read = new Tle(...lines)
    return {
      number: Tle.satNum(lines[0]),
      year: read.epoch.toDateTime().getUTCFullYear(),
      derivative: Tle.meanMoDev2(lines[0]),
      orbits: Tle.revNum(lines[1]),
      piece: Tle.intlDesLetters ? Tle.intlDesLetters(lines[0]) : undefined
    }
  }
}
const told = value => Number.isNaN(value) ? 'not a number' : value
const seen = JSON.parse(readFileSync('cases.json')).map(lines => Object.entries(libraries).map(([name, read]) => {
  try {
    return [name, Object.fromEntries(Object.entries(read(lines)).map(([key, value]) => [key, told(value)]))]
  } catch {
    return [name, null]
  }
}))
writeFileSync('node.json', JSON.stringify(seen))
JS
cat > python.py <<'PY'
import json, logging, math, subprocess, textwrap, warnings
warnings.simplefilter("ignore")
logging.disable()
import importlib.util
import ephem
from pyorbital.tlefile import Tle
from satelles.tle import TLE
from sgp4.api import Satrec, jday

spec = importlib.util.find_spec("orbital_elements")
orbital = importlib.util.spec_from_file_location("orbital_tle", f"{spec.submodule_search_locations[0]}/tle.py")
orbital_elements = importlib.util.module_from_spec(orbital)
orbital.loader.exec_module(orbital_elements)

def line(text):
    return text + str(sum(int(c) if c.isdigit() else c == "-" for c in text) % 10)

def elements(number="25544", launch="98067", piece="A  ", epoch="26335.50000000", second=" 00000-0"):
    return [line(f"1 {number}U {launch}{piece} {epoch}  .00016717 {second}  10270-3 0  999"),
            line(f"2 {number}  51.6400 208.9163 0006317  69.9862  25.2906 15.4981535012345")]

cases = {"number 25544, 2026, second derivative 0, 12345 orbits, piece A": elements(), "number 100001": elements("A0001"),
         "epoch in 1957": elements("00002", "57001", "B  ", "57335.50000000"), "second derivative -1.2345e-7": elements(second="-12345-6"),
         "piece ABC": elements(piece="ABC")}

def by_sgp4(lines):
    read = Satrec.twoline2rv(*lines)
    return {"number": read.satnum, "year": round((read.jdsatepoch - 2451544.5) // 365.25) + 2000,
            "derivative": read.nddot * 1440**3 / (2 * math.pi), "orbits": read.revnum, "piece": read.intldesg[5:]}

def by_satelles(lines):
    read = TLE("\n".join(["A satellite", *lines]))
    return {"number": read.id, "year": read.year, "derivative": read.second_derivative_of_mean_motion, "orbits": read.number_of_revolutions,
            "piece": read.designator[5:]}

def by_ephem(lines):
    read = ephem.readtle("A satellite", *lines)
    return {"number": read.catalog_number, "year": ephem.Date(read.epoch).triple()[0], "orbits": read.orbit}

def by_pyorbital(lines):
    read = Tle("A satellite", line1=lines[0], line2=lines[1])
    return {"number": read.satnumber, "year": int(str(read.epoch)[:4]), "derivative": read.mean_motion_sec_derivative, "orbits": read.orbit,
            "piece": read.id_launch_piece.strip()}

def by_orbital_elements(lines):
    read = orbital_elements.Tle(lines)
    at = orbital_elements.dt.datetime.now(orbital_elements.pytz.utc) - read.elapsed_time
    return {"number": read.norad_id, "year": at.year, "derivative": read.dx_ballistic_coefficient, "orbits": read.revolutions,
            "piece": read.launch_piece}

json.dump(list(cases.values()), open("cases.json", "w"))
subprocess.run(["node", "node.mjs"], check=True)
keys = {"number": ["number"], "epoch": ["year"], "second": ["derivative"], "piece": ["piece"]}
for (name, lines), values in zip(cases.items(), json.load(open("node.json"))):
    for library, read in {"sgp4": by_sgp4, "satelles": by_satelles, "ephem": by_ephem, "pyorbital": by_pyorbital,
                          "orbital-elements": by_orbital_elements}.items():
        values.append([library, read(lines)])
    print(name)
    wanted = ["number", "year", "derivative", "orbits", "piece"] if "," in name else keys[name.split()[0]]
    for key in wanted:
        told = {}
        for library, value in values:
            if value is None or value.get(key) is not None:
                shown = "an error" if value is None else f"{value[key]:.6g}" if key == "derivative" else str(value[key])
                told.setdefault(shown, []).append(library)
        for text in told:
            print(textwrap.fill(f"{key} {text}: {', '.join(told[text])}", 140, initial_indent="  ", subsequent_indent="      "))
PY
venv/bin/python python.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
number 25544, 2026, second derivative 0, 12345 orbits, piece A
  number 25544: satellite.js, tle.js, ootk-core, sgp4, satelles, ephem, pyorbital, orbital-elements
  year 2026: satellite.js, tle.js, ootk-core, sgp4, satelles, ephem, pyorbital, orbital-elements
  derivative 0: satellite.js, tle.js, ootk-core, sgp4, satelles, pyorbital, orbital-elements
  orbits 12345: tle.js, ootk-core, sgp4, ephem, pyorbital, orbital-elements
  orbits 123454: satelles
  piece A: tle.js, sgp4, satelles, pyorbital, orbital-elements
number 100001
  number A0001: satellite.js, pyorbital, orbital-elements
  number not a number: tle.js
  number 100001: ootk-core, sgp4
  number 16796161: satelles
  number 0: ephem
epoch in 1957
  year 1957: satellite.js, tle.js, sgp4, satelles, ephem
  year an error: ootk-core
  year 2057: pyorbital, orbital-elements
second derivative -1.2345e-7
  derivative -1.2345e-07: satellite.js, tle.js, sgp4, satelles, pyorbital, orbital-elements
  derivative -12345: ootk-core
piece ABC
  piece ABC: tle.js, sgp4, satelles, pyorbital
  piece A: orbital-elements
SEEN

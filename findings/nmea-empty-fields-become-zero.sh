#!/usr/bin/env bash
# Three NMEA 0183 readers give 0 for empty fields, so a receiver without a height is at sea level and a lost sea bed at 0 m, with no error.
#
# Guess: in NMEA 0183 (IEC 61162-1, "Null fields") a field with nothing between its commas says that the value is not available, and 0 is a
# value. A receiver with a fix of two dimensions sends GGA without an altitude, one that stands still RMC and VTG without a course, one that
# knows a satellite by its signal only GSV without a place in the sky, and an echo sounder without an echo DBT without a depth. So readers
# tell both apart.
#
# Seen 2026-11-30 with nmea-simple 3.3.0, nmea 0.1.2 and @signalk/nmea0183-signalk 3.20.1 of npm, and no error; gps 0.9.0 of npm (but for DBT,
# which it leaves to others), pynmea2 1.19.0 and pynmeagps 1.1.8 of PyPI tell both apart, and all read the sentences with values right:
#
#   GGA without an altitude         nmea-simple, nmea, @signalk/nmea0183-signalk: altitude 0
#   RMC, VTG without a course       nmea-simple, nmea: 0, so north
#   GSV without a place in the sky  nmea-simple, nmea, @signalk/nmea0183-signalk: elevation 0, azimuth 0, so on the northern horizon
#   DBT without a depth             nmea-simple, nmea: 0
#
# So a program that stores heights, courses or depths looks at the fields themselves first.
#
# Needs node with npm, python3 with venv, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . nmea-simple@3.3.0 nmea@0.1.2 @signalk/nmea0183-signalk@3.20.1 \
    gps@0.9.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pynmea2==1.19.0 pynmeagps==1.1.8
cat > sentences <<'LINES'
$GPGGA,100000.00,3351.6000,S,07038.0500,W,1,08,1.2,-12.5,M,-3.4,M,,*63
$GPGGA,100000.00,3351.6000,S,07038.0500,W,1,04,2.5,,M,,M,,*5A
$GPRMC,100000.00,A,3351.6000,S,07038.0500,W,5.0,90.0,301126,,,A*60
$GPRMC,100000.00,A,3351.6000,S,07038.0500,W,0.0,,301126,,,A*72
$GPVTG,90.0,T,,M,5.0,N,9.3,K,A*3B
$GPVTG,,T,,M,0.0,N,0.0,K,A*23
$GPGSV,1,1,01,02,45,090,40*46
$GPGSV,1,1,01,02,,,40*7E
$SDDBT,32.8,f,10.0,M,5.4,F*0F
$SDDBT,,f,,M,,F*28
LINES
cat > read.cjs <<'JS'
const { readFileSync } = require('node:fs')
const GPS = require('gps')
const nmea = require('nmea')
const { parseNmeaSentence } = require('nmea-simple')
const SignalK = require('@signalk/nmea0183-signalk')
const show = value => value == null || value === '' ? 'none' : value
const degrees = radians => radians == null ? radians : Math.round(radians * 180 / Math.PI)
for (const line of readFileSync('sentences', 'utf8').trim().split('\n')) {
  console.log(line)
  const kind = line.slice(3, 6)
  const a = GPS.Parse(line), b = parseNmeaSentence(line), c = nmea.parse(line)
  const d = (new SignalK().parse(line) || { updates: [{ values: [] }] }).updates[0].values
  const sk = path => (d.find(one => one.path.endsWith(path)) || {}).value
  const all = {
    GGA: () => ({ gps: [a.alt], 'nmea-simple': [b.altitudeMeters], nmea: [c.alt], signalk: [sk('antennaAltitude')] }),
    RMC: () => ({ gps: [a.track], 'nmea-simple': [b.trackTrue], nmea: [c.trackTrue], signalk: [degrees(sk('courseOverGroundTrue'))] }),
    VTG: () => ({ gps: [a.track], 'nmea-simple': [b.trackTrue], nmea: [c.trackTrue], signalk: [degrees(sk('courseOverGroundTrue'))] }),
    GSV: () => {
      const k = sk('satellitesInView').satellites[0]
      return { gps: [a.satellites[0].elevation, a.satellites[0].azimuth],
        'nmea-simple': [b.satellites[0].elevationDegrees, b.satellites[0].azimuthTrue],
        nmea: [c.satellites[0].elevationDeg, c.satellites[0].azimuthTrue], signalk: [k.elevation, k.azimuth].map(degrees) }
    },
    DBT: () => ({ 'nmea-simple': [b.depthMeters], nmea: [c.depthMeters], signalk: [sk('belowTransducer')] })
  }
  for (const [name, values] of Object.entries(all[kind]())) console.log(`  ${name}: ${values.map(show).join(', ')}`)
}
JS
cat > read.py <<'PY'
import pynmea2
from pynmeagps import NMEAReader
show = lambda values: ", ".join("none" if value in (None, "") else str(value) for value in values)
for line in open("sentences"):
    line = line.strip()
    print(line)
    one, two, kind = pynmea2.parse(line), NMEAReader.parse(line), line[3:6]
    if kind == "GGA":
        print("  pynmea2:", show([one.altitude]))
        print("  pynmeagps:", show([two.alt]))
    if kind == "RMC":
        print("  pynmea2:", show([one.true_course]))
        print("  pynmeagps:", show([two.cog]))
    if kind == "VTG":
        print("  pynmea2:", show([one.true_track]))
        print("  pynmeagps:", show([two.cogt]))
    if kind == "GSV":
        print("  pynmea2:", show([one.elevation_deg_1, one.azimuth_1]))
        print("  pynmeagps:", show([two.elv_01, two.az_01]))
    if kind == "DBT":
        print("  pynmea2:", show([one.depth_meters]))
        print("  pynmeagps:", show([two.depthm]))
PY
{ node read.cjs; venv/bin/python read.py; } | tee seen
diff seen - <<'SEEN' && echo "as it was"
$GPGGA,100000.00,3351.6000,S,07038.0500,W,1,08,1.2,-12.5,M,-3.4,M,,*63
  gps: -12.5
  nmea-simple: -12.5
  nmea: -12.5
  signalk: -12.5
$GPGGA,100000.00,3351.6000,S,07038.0500,W,1,04,2.5,,M,,M,,*5A
  gps: none
  nmea-simple: 0
  nmea: 0
  signalk: 0
$GPRMC,100000.00,A,3351.6000,S,07038.0500,W,5.0,90.0,301126,,,A*60
  gps: 90
  nmea-simple: 90
  nmea: 90
  signalk: 90
$GPRMC,100000.00,A,3351.6000,S,07038.0500,W,0.0,,301126,,,A*72
  gps: none
  nmea-simple: 0
  nmea: 0
  signalk: none
$GPVTG,90.0,T,,M,5.0,N,9.3,K,A*3B
  gps: 90
  nmea-simple: 90
  nmea: 90
  signalk: 90
$GPVTG,,T,,M,0.0,N,0.0,K,A*23
  gps: none
  nmea-simple: 0
  nmea: 0
  signalk: none
$GPGSV,1,1,01,02,45,090,40*46
  gps: 45, 90
  nmea-simple: 45, 90
  nmea: 45, 90
  signalk: 45, 90
$GPGSV,1,1,01,02,,,40*7E
  gps: none, none
  nmea-simple: 0, 0
  nmea: 0, 0
  signalk: 0, 0
$SDDBT,32.8,f,10.0,M,5.4,F*0F
  nmea-simple: 10
  nmea: 10
  signalk: 10
$SDDBT,,f,,M,,F*28
  nmea-simple: 0
  nmea: 0
  signalk: none
$GPGGA,100000.00,3351.6000,S,07038.0500,W,1,08,1.2,-12.5,M,-3.4,M,,*63
  pynmea2: -12.5
  pynmeagps: -12.5
$GPGGA,100000.00,3351.6000,S,07038.0500,W,1,04,2.5,,M,,M,,*5A
  pynmea2: none
  pynmeagps: none
$GPRMC,100000.00,A,3351.6000,S,07038.0500,W,5.0,90.0,301126,,,A*60
  pynmea2: 90.0
  pynmeagps: 90.0
$GPRMC,100000.00,A,3351.6000,S,07038.0500,W,0.0,,301126,,,A*72
  pynmea2: none
  pynmeagps: none
$GPVTG,90.0,T,,M,5.0,N,9.3,K,A*3B
  pynmea2: 90.0
  pynmeagps: 90.0
$GPVTG,,T,,M,0.0,N,0.0,K,A*23
  pynmea2: none
  pynmeagps: none
$GPGSV,1,1,01,02,45,090,40*46
  pynmea2: 45, 090
  pynmeagps: 45, 90
$GPGSV,1,1,01,02,,,40*7E
  pynmea2: none, none
  pynmeagps: none, none
$SDDBT,32.8,f,10.0,M,5.4,F*0F
  pynmea2: 10.0
  pynmeagps: 10.0
$SDDBT,,f,,M,,F*28
  pynmea2: none
  pynmeagps: none
SEEN

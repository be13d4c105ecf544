#!/usr/bin/env bash
# Nine GPX libraries give points of valid tracks another time, height or place, give tracks another name, or read a file as empty.
#
# Guess: the GPX 1.1 schema has lat, lon and ele as decimals, so 0 is one, and ele, time and name may be missing (wptType, trkType); a time
# is in UTC, "not local time"; a route has a name and points (rteType); an element of another namespace may be in extensions only
# (extensionsType). By Namespaces in XML 1.0 (2.1, 6.2) an element is known by its namespace, whatever the prefix, so x:ele or an ele with
# another xmlns is not the height of the point. By XML 1.0, &amp; is an ampersand (4.6), CDATA is text as it stands (2.7), and a comment is
# not part of the text (2.5). A name is a text. So all readers find the same.
#
# Seen 2026-11-30 with @tmcw/togeojson 7.1.3, @mapbox/togeojson 0.16.2, gpxparser 3.0.8, @we-gold/gpxjs 1.2.0, gpx-parse 0.10.4 and
# gpx-parser-builder 1.2.0 of npm, gpxpy 1.6.2, gpxcsv 0.3.1 and activereader 0.0.2 of PyPI, and no error; gpx 2026.4.0 of PyPI finds all of it:
#
#   a point without a time among others      togeojson (both): the next point's time, and so on for all later ones
#   a segment without times, one with them   togeojson (both): the times of the second are those of the first
#   a time without a zone                    gpxparser, gpxjs, gpx-parse, gpx-parser-builder: the machine's zone, in Tokyo nine hours too early
#   a height of 0, a point at 0, 0           gpx-parse: -1, -1 and -1, as for a missing height; routes have neither name nor heights
#   x:ele in extensions, no own ele          gpxparser: the height
#   ele of another xmlns, no own ele         togeojson (both), gpxparser: the height
#   time of another xmlns, no own time       @mapbox/togeojson, gpxparser: the time; @tmcw/togeojson: 2026, and no point has a time
#   trk of another xmlns in extensions       togeojson (both), gpxparser, activereader: a second track
#   a track without a name, a point with one togeojson (both), gpxparser: the track has the point's name
#   the name a &amp; b, also in CDATA        gpxparser: "a &amp; b", "<![CDATA[a & b]]>"
#   the names 007 and 1e3                    gpx-parser-builder: 7, 1000
#   a comment in a name                      gpxjs, gpxcsv, activereader: only what comes before it; gpxparser: the comment, too
#   a prefix for all of GPX (g:trk)          togeojson (both), gpxjs, gpxpy: no track at all
#
# So a file for strangers has no prefix, a time with Z and a height in every point, and a plain name in every track.
#
# Needs node 20 with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
export TZ=Asia/Tokyo
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . @tmcw/togeojson@7.1.3 @mapbox/togeojson@0.16.2 gpxparser@3.0.8 \
    @we-gold/gpxjs@1.2.0 gpx-parse@0.10.4 gpx-parser-builder@1.2.0 jsdom@29.1.1 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check gpxpy==1.6.2 gpx==2026.4.0 gpxcsv==0.3.1 activereader==0.0.2
# one a line: what is asked for | what it is | what to find | the content of the file, with @ for the parts below
cat > cases <<'CASES'
names|a plain track|n|<trk><name>n</name><trkseg>@1 @2 @3</trkseg></trk>
points|a plain track|1 2 3, 4 5 6, 7 8 9|<trk><name>n</name><trkseg>@1 @2 @3</trkseg></trk>
times|a plain track|10:00:00Z, 10:00:10Z, 10:00:20Z|<trk><name>n</name><trkseg>@1 @2 @3</trkseg></trk>
times|a point without a time|10:00:00Z, -, 10:00:20Z|<trk><name>n</name><trkseg>@1 @4 @3</trkseg></trk>
times|a segment without times|-, -, 10:00:00Z, 10:00:20Z|<trk><trkseg>@4 @4</trkseg><trkseg>@1 @3</trkseg></trk>
times|a time without a zone|10:00:00Z, 10:00:30Z|<trk><name>n</name><trkseg>@1 @5</trkseg></trk>
points|heights of 0 and -6.5|1 2 0, 4 5 -6.5|<trk><trkseg>@6 <trkpt lat="4" lon="5"><ele>-6.5</ele></trkpt></trkseg></trk>
points|a point at 0, 0|1 2 3, 0 0 3|<trk><trkseg>@1 <trkpt lat="0" lon="0"><ele>3</ele></trkpt></trkseg></trk>
points|a point without a height|1 2 3, 4 5 -, 7 8 9|<trk><trkseg>@1 <trkpt lat="4" lon="5"/> @3</trkseg></trk>
names|a route|n|<rte><name>n</name>@7 @8</rte>
points|a route|1 2 3, 4 5 6|<rte><name>n</name>@7 @8</rte>
points|x:ele in extensions|1 2 3, 4 5 -|<trk><trkseg>@1 @9<x:ele>99</x:ele>@0</trkseg></trk>
points|ele of another xmlns|1 2 3, 4 5 -|<trk><trkseg>@1 @9<ele xmlns="urn:x">99</ele>@0</trkseg></trk>
times|time of another xmlns|10:00:00Z, -|<trk><trkseg>@1 @9<time xmlns="urn:x">@T</time>@0</trkseg></trk>
names|trk of another xmlns|n|<trk><name>n</name><trkseg>@1 @2</trkseg></trk><extensions>@A</extensions>
names|a track without a name|-|<trk><trkseg><trkpt lat="1" lon="2"><name>point</name></trkpt>@2</trkseg></trk>
names|the name a &amp; b|a & b|<trk><name>a &amp; b</name><trkseg>@1 @2</trkseg></trk>
names|a name in CDATA|a & b|<trk><name><![CDATA[a & b]]></name><trkseg>@1 @2</trkseg></trk>
names|the name 007|"007"|<trk><name>007</name><trkseg>@1 @2</trkseg></trk>
names|the name 1e3|"1e3"|<trk><name>1e3</name><trkseg>@1 @2</trkseg></trk>
names|a comment in a name|ac|<trk><name>a<!-- b -->c</name><trkseg>@1 @2</trkseg></trk>
names|a prefix|n|<g:trk><g:name>n</g:name><g:trkseg><g:trkpt lat="1" lon="2"/><g:trkpt lat="4" lon="5"/></g:trkseg></g:trk>
CASES
mkdir files
number=0
while IFS='|' read -r asked name found content; do
  number=$((number + 1))
  root='gpx xmlns="http://www.topografix.com/GPX/1/1"'
  case $content in '<g:'*) root='g:gpx xmlns:g="http://www.topografix.com/GPX/1/1"' ;; esac
  printf '<?xml version="1.0" encoding="UTF-8"?>\n<%s xmlns:x="urn:x" version="1.1" creator="example">%s</%s>\n' \
    "$root" "$content" "${root%% *}" | sed '
      s,@A,<trk xmlns="urn:x"><name>m</name><trkseg>@1 @2</trkseg></trk>,g
      s,@1,<trkpt lat="1" lon="2"><ele>3</ele><time>2026-11-30T10:00:00Z</time></trkpt>,g
      s,@2,<trkpt lat="4" lon="5"><ele>6</ele><time>2026-11-30T10:00:10Z</time></trkpt>,g
      s,@3,<trkpt lat="7" lon="8"><ele>9</ele><time>2026-11-30T10:00:20Z</time></trkpt>,g
      s,@4,<trkpt lat="4" lon="5"><ele>6</ele></trkpt>,g
      s,@5,<trkpt lat="7" lon="8"><ele>9</ele><time>2026-11-30T10:00:30</time></trkpt>,g
      s,@6,<trkpt lat="1" lon="2"><ele>0</ele></trkpt>,g
      s,@7,<rtept lat="1" lon="2"><ele>3</ele></rtept>,g
      s,@8,<rtept lat="4" lon="5"><ele>6</ele></rtept>,g
      s,@9,<trkpt lat="4" lon="5"><extensions>,g
      s,@0,</extensions></trkpt>,g
      s,@T,2026-11-30T23:00:00Z,g' > "files/$(printf '%02d' $number).gpx"
done < cases
cat > read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { gpx as tmcw } from '@tmcw/togeojson'
import { parseGPXWithCustomParser } from '@we-gold/gpxjs'
import GPX from 'gpx-parser-builder'
import { JSDOM } from 'jsdom'
const require = createRequire(import.meta.url)
const mapbox = require('@mapbox/togeojson').gpx, GpxParser = require('gpxparser'), { parseGpx } = require('gpx-parse')
const dom = text => new JSDOM(text, { contentType: 'text/xml' }).window.document
// each gives a list of tracks and routes: a name, and points of latitude, longitude, height and time
const geoJson = read => text => read(dom(text)).features.map(({ properties, geometry: { type, coordinates } }) => {
  const lines = type === 'LineString' ? [coordinates] : coordinates
  const given = properties.coordinateProperties?.times ?? properties.coordTimes ?? []
  const times = type === 'LineString' ? [given] : given
  return [properties.name, lines.flatMap((line, at) => line.map(([lon, lat, ele], nth) => [lat, lon, ele, times[at]?.[nth]]))]
})
const readers = {
  '@tmcw/togeojson': geoJson(tmcw),
  '@mapbox/togeojson': geoJson(mapbox),
  gpxparser (text) {
    const gpx = new GpxParser()
    gpx.parse(text)
    return [...gpx.tracks, ...gpx.routes].map(({ name, points }) => [name, points.map(({ lat, lon, ele, time }) => [lat, lon, ele, time])])
  },
  gpxjs (text) {
    const [gpx, error] = parseGPXWithCustomParser(text, dom)
    if (error) throw error
    return [...gpx.tracks, ...gpx.routes].map(({ name, points }) =>
      [name, points.map(({ latitude, longitude, elevation, time }) => [latitude, longitude, elevation, time])])
  },
  'gpx-parse': text => new Promise((resolve, reject) => parseGpx(text, (error, gpx) => error
    ? reject(error)
    : resolve([...gpx.tracks, ...gpx.routes].map(({ name, segments, points }) =>
      [name, (segments?.flat() ?? points).map(({ lat, lon, elevation, time }) => [lat, lon, elevation, time])])))),
  'gpx-parser-builder' (text) {
    const gpx = GPX.parse(text)
    return [...gpx.trk ?? [], ...gpx.rte ?? []].map(({ name, trkseg, rtept }) =>
      [name, (trkseg?.flatMap(({ trkpt }) => trkpt) ?? rtept).map(({ $: { lat, lon }, ele, time }) => [+lat, +lon, ele, time])])
  }
}
const hour = time => typeof time === 'number' ? String(time) : typeof time === 'string' ? time.slice(11).replace(/\d$/, '$&Z')
  : time?.toISOString?.().replace(/.*T|\.000/g, '')
const shown = {
  names: tracks => tracks.map(([name]) => /^\d/.test(name) ? JSON.stringify(name) : name || '-'),
  points: tracks => tracks.flatMap(([, points]) => points.map(point => point.slice(0, 3).map(number => number ?? '-').join(' '))),
  times: tracks => tracks.flatMap(([, points]) => points.map(([, , , time]) => hour(time) ?? '-'))
}
for (const [at, line] of readFileSync('cases', 'utf8').trim().split('\n').entries()) {
  const [asked, name] = line.split('|')
  const text = readFileSync(`files/${String(at + 1).padStart(2, '0')}.gpx`, 'utf8')
  for (const [reader, read] of Object.entries(readers)) {
    if (name === 'a prefix' && /^gpx-pars/.test(reader)) continue // they report an error
    console.log(`${asked} of ${name}|${reader}|${shown[asked](await read(text)).join(', ')}`)
  }
}
JS
cat > read.py <<'PY'
import datetime
import itertools
import json
import activereader
import gpx
import gpxcsv
import gpxpy

def by_gpxpy(file):
    with open(file) as text:
        found = gpxpy.parse(text)
    lines = [(track.name, [point for segment in track.segments for point in segment.points]) for track in found.tracks]
    lines += [(route.name, route.points) for route in found.routes]
    return [(name, [(p.latitude, p.longitude, p.elevation, p.time) for p in points]) for name, points in lines]

def by_gpx(file):
    found = gpx.read_gpx(file)
    lines = [(track.name, [point for segment in track.trkseg for point in segment.trkpt]) for track in found.trk]
    lines += [(route.name, route.rtept) for route in found.rte]
    return [(name, [(p.lat, p.lon, p.ele, p.time) for p in points]) for name, points in lines]

def by_gpxcsv(file):
    rows = itertools.groupby(gpxcsv.gpxtolist(file), lambda row: row.get("name"))
    return [(name, [(row["lat"], row["lon"], row.get("ele"), row.get("time")) for row in points]) for name, points in rows]

def by_activereader(file):
    return [(track.name, [(p.lat, p.lon, p.altitude_m, p.time) for segment in track.segments for p in segment.trackpoints])
            for track in activereader.Gpx.from_file(file).tracks]

def number(value):
    return "-" if value is None else f"{float(value):g}"

def hour(time):
    if time is None:
        return "-"
    if isinstance(time, str):
        time = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    return (time.astimezone(datetime.timezone.utc) if time.tzinfo else time).strftime("%H:%M:%SZ") # no zone: the caller has to know

shown = {
    "names": lambda tracks: [json.dumps(name) if str(name)[:1].isdigit() else name or "-" for name, _ in tracks],
    "points": lambda tracks: [" ".join(map(number, point[:3])) for _, points in tracks for point in points],
    "times": lambda tracks: [hour(point[3]) for _, points in tracks for point in points],
}
for at, line in enumerate(open("cases"), 1):
    asked, name = line.split("|")[:2]
    for reader, read in [("gpxpy", by_gpxpy), ("gpxcsv", by_gpxcsv), ("activereader", by_activereader), ("gpx", by_gpx)]:
        if name == "a route" and reader in ("gpxcsv", "activereader") or name == "a track without a name" and reader == "gpxcsv":
            continue # they read tracks only, and gpxcsv has one name a point
        if reader == "gpxcsv" and "@9" in line:
            continue # it promises a column of the same name for what is in extensions
        print(f"{asked} of {name}|{reader}|{', '.join(shown[asked](read(f'files/{at:02}.gpx')))}")
PY
node read.mjs > one
venv/bin/python read.py > two
while IFS='|' read -r asked name found content; do
  echo "$asked of $name: $found"
  same=
  while IFS='|' read -r _ reader shown; do
    if [ "$shown" = "$found" ]; then same="$same, $reader"; else echo "  $reader: ${shown:-nothing}"; fi
  done < <(cat one two | grep -F -- "$asked of $name|")
  echo "  the same: ${same#, }"
done < cases | tee seen
diff seen - <<'SEEN' && echo "as it was"
names of a plain track: n
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parse, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
points of a plain track: 1 2 3, 4 5 6, 7 8 9
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parse, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
times of a plain track: 10:00:00Z, 10:00:10Z, 10:00:20Z
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parse, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
times of a point without a time: 10:00:00Z, -, 10:00:20Z
  @tmcw/togeojson: 10:00:00Z, 10:00:20Z, -
  @mapbox/togeojson: 10:00:00Z, 10:00:20Z, -
  the same: gpxparser, gpxjs, gpx-parse, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
times of a segment without times: -, -, 10:00:00Z, 10:00:20Z
  @tmcw/togeojson: 10:00:00Z, 10:00:20Z, -, -
  @mapbox/togeojson: 10:00:00Z, 10:00:20Z, -, -
  the same: gpxparser, gpxjs, gpx-parse, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
times of a time without a zone: 10:00:00Z, 10:00:30Z
  gpxparser: 10:00:00Z, 01:00:30Z
  gpxjs: 10:00:00Z, 01:00:30Z
  gpx-parse: 10:00:00Z, 01:00:30Z
  gpx-parser-builder: 10:00:00Z, 01:00:30Z
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxpy, gpxcsv, activereader, gpx
points of heights of 0 and -6.5: 1 2 0, 4 5 -6.5
  gpx-parse: 1 2 -1, 4 5 -6.5
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
points of a point at 0, 0: 1 2 3, 0 0 3
  gpx-parse: 1 2 3, -1 -1 3
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
points of a point without a height: 1 2 3, 4 5 -, 7 8 9
  gpx-parse: 1 2 3, 4 5 -1, 7 8 9
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
names of a route: n
  gpx-parse: -
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parser-builder, gpxpy, gpx
points of a route: 1 2 3, 4 5 6
  gpx-parse: 1 2 -1, 4 5 -1
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parser-builder, gpxpy, gpx
points of x:ele in extensions: 1 2 3, 4 5 -
  gpxparser: 1 2 3, 4 5 99
  gpx-parse: 1 2 3, 4 5 -1
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxjs, gpx-parser-builder, gpxpy, activereader, gpx
points of ele of another xmlns: 1 2 3, 4 5 -
  @tmcw/togeojson: 1 2 3, 4 5 99
  @mapbox/togeojson: 1 2 3, 4 5 99
  gpxparser: 1 2 3, 4 5 99
  gpx-parse: 1 2 3, 4 5 -1
  the same: gpxjs, gpx-parser-builder, gpxpy, activereader, gpx
times of time of another xmlns: 10:00:00Z, -
  @tmcw/togeojson: -, 2026
  @mapbox/togeojson: 10:00:00Z, 23:00:00Z
  gpxparser: 10:00:00Z, 23:00:00Z
  the same: gpxjs, gpx-parse, gpx-parser-builder, gpxpy, activereader, gpx
names of trk of another xmlns: n
  @tmcw/togeojson: n, m
  @mapbox/togeojson: n, m
  gpxparser: n, m
  activereader: n, m
  the same: gpxjs, gpx-parse, gpx-parser-builder, gpxpy, gpxcsv, gpx
names of a track without a name: -
  @tmcw/togeojson: point
  @mapbox/togeojson: point
  gpxparser: point
  the same: gpxjs, gpx-parse, gpx-parser-builder, gpxpy, activereader, gpx
names of the name a &amp; b: a & b
  gpxparser: a &amp; b
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxjs, gpx-parse, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
names of a name in CDATA: a & b
  gpxparser: <![CDATA[a & b]]>
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxjs, gpx-parse, gpx-parser-builder, gpxpy, gpxcsv, activereader, gpx
names of the name 007: "007"
  gpx-parser-builder: 7
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parse, gpxpy, gpxcsv, activereader, gpx
names of the name 1e3: "1e3"
  gpx-parser-builder: 1000
  the same: @tmcw/togeojson, @mapbox/togeojson, gpxparser, gpxjs, gpx-parse, gpxpy, gpxcsv, activereader, gpx
names of a comment in a name: ac
  gpxparser: a<!-- b -->c
  gpxjs: a
  gpxcsv: a
  activereader: a
  the same: @tmcw/togeojson, @mapbox/togeojson, gpx-parse, gpx-parser-builder, gpxpy, gpx
names of a prefix: n
  @tmcw/togeojson: nothing
  @mapbox/togeojson: nothing
  gpxjs: nothing
  gpxpy: nothing
  the same: gpxparser, gpxcsv, activereader, gpx
SEEN

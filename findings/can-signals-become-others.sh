#!/usr/bin/env bash
# candied reads other values from CAN frames by a valid DBC file, asammdf and can-decoder leave out signals, canmatrix loses parts of the file.
#
# Guess: Vector's documentation of the DBC format ("Signal Definitions") has the start bit of a Motorola signal as its most significant bit,
# that of an Intel one as its least, signed numbers in two's complement, value = raw * factor + offset, and for m1 a signal that is there if
# the multiplexor is 1; ("Signal Extended Value Type List") 1 and 2 are floats of 32 and 64 bits; ("Signal Value Descriptions") a text is for
# a raw value; ("Extended Multiplexing") a signal may be there for several ranges of the multiplexor. canconvert of canmatrix converts a
# file into sym, yaml and json, and back. So all readers find the same, also after a conversion.
#
# Seen 2026-11-30 with candied 2.2.0 of npm, asammdf 8.8.28, can-decoder 0.1.9 and canmatrix 1.3.3 of PyPI, and no error; cantools 39.4.4 of
# PyPI reads all of it right, and so does canmatrix before a conversion:
#
#   Motorola signals of two bytes       candied: 0 for 4660, 1665 for -15; it takes the start bit for the last one
#   floats of 32 and 64 bits            candied: integers, -1054867456 for -10; canmatrix after sym, too
#   9007199254740993 in 64 bits         candied and can-decoder: 9007199254740992
#   a multiplexor and two signals       candied: always both signals; canmatrix after yaml and json, too
#   a signal for 1 and for 5 to 7       asammdf, can-decoder: not there for 6
#   a factor of 1/2, texts for 1 and 2  candied: the text of 1 for raw 2, none for raw 1; canmatrix after yaml: none
#
# So a DBC file for strangers stays a DBC file and has Intel integers of up to 53 bits, without multiplexors and texts.
#
# Needs node with npm, python3 with venv, two minutes, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . candied@2.2.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cantools==39.4.4 canmatrix==1.3.3 PyYAML==6.0.4
python3 -m venv second
second/bin/pip install --quiet --disable-pip-version-check asammdf==8.8.28 can-decoder==0.1.9
cat > bus.dbc <<'DBC'
VERSION ""

NS_ :

BS_:

BU_: ECU

BO_ 256 Intel: 8 ECU
 SG_ Count : 0|16@1+ (1,0) [0|0] "" ECU
 SG_ Torque : 16|12@1- (0.5,10) [0|0] "" ECU

BO_ 257 Motorola: 8 ECU
 SG_ Whole : 23|16@0+ (1,0) [0|0] "" ECU
 SG_ Part : 35|12@0- (1,0) [0|0] "" ECU

BO_ 258 Wide: 8 ECU
 SG_ Serial : 0|64@1+ (1,0) [0|0] "" ECU

BO_ 259 Floats: 8 ECU
 SG_ Single : 0|32@1- (1,0) [0|0] "" ECU

BO_ 260 Doubles: 8 ECU
 SG_ Double : 0|64@1- (1,0) [0|0] "" ECU

BO_ 261 Modes: 8 ECU
 SG_ Mode M : 0|8@1+ (1,0) [0|0] "" ECU
 SG_ Speed m0 : 8|16@1+ (1,0) [0|0] "" ECU
 SG_ Heat m1 : 8|16@1- (1,0) [0|0] "" ECU

BO_ 262 Kinds: 8 ECU
 SG_ Kind M : 0|8@1+ (1,0) [0|0] "" ECU
 SG_ Pressure m1 : 8|8@1+ (1,0) [0|0] "" ECU

BO_ 263 Texts: 8 ECU
 SG_ Fill : 0|8@1+ (0.5,0) [0|0] "" ECU

VAL_ 263 Fill 1 "low" 2 "high" ;
SIG_VALTYPE_ 259 Single : 1;
SIG_VALTYPE_ 260 Double : 2;
SG_MUL_VAL_ 262 Pressure Kind 1-1, 5-7;
DBC
cat > frames <<'FRAMES'
256 3412fe4f00000000
257 000012340ff10000
258 0100000000002000
259 000020c100000000
260 000000000000f83f
261 00feff0000000000
261 01feff0000000000
262 0121000000000000
262 0621000000000000
263 0200000000000000
263 0100000000000000
FRAMES
cat > read.cjs <<'JS'
const { readFileSync } = require('node:fs')
const { Can, Dbc } = require('candied')
const can = new Can()
can.database = new Dbc().load(readFileSync('bus.dbc', 'utf8'))
for (const line of readFileSync('frames', 'utf8').trim().split('\n')) {
  const [id, hex] = line.split(' ')
  const { boundSignals } = can.decode(can.createFrame(Number(id), [...Buffer.from(hex, 'hex')]))
  console.log(`${line} | candied: ${[...boundSignals].map(([name, signal]) => `${name} ${signal.physValue}`).join(', ')}`)
}
JS
cat > read.py <<'PY'
import sys
import canmatrix.formats, cantools

def shown(value):
    return str(int(value) if not isinstance(value, str) and value == int(value) else value)

frames = [line.split() for line in open("frames")]
if sys.argv[1] == "bus.dbc":
    database = cantools.database.load_file("bus.dbc")
    for number, data in frames:
        signals = database.decode_message(int(number), bytes.fromhex(data)).items()
        print(f"{number} {data} | cantools:", ", ".join(f"{name} {value if hasattr(value, 'name') else shown(value)}" for name, value in signals))
matrix = canmatrix.formats.loadp_flat(sys.argv[1])
for number, data in frames:
    identifier = canmatrix.ArbitrationId(int(number), False)
    if sys.argv[1] == "sym.dbc" and number > "260":  # sym keeps multiplexors in another way
        continue
    signals = matrix.decode(identifier, bytes.fromhex(data)).items()
    print(f"{number} {data} | {sys.argv[2]}:", ", ".join(f"{name} {shown(value.named_value)}" for name, value in signals))
PY
cat > log.py <<'PY'
import numpy as np
import pandas as pd
import can_decoder
from asammdf import MDF, Signal
from asammdf.blocks.source_utils import Source

def shown(value):
    return value.decode() if isinstance(value, bytes) else str(int(value) if value == value and value == int(value) else value)

frames = [line.split() for line in open("frames")]
fields = [("BusChannel", "u1"), ("ID", "u4"), ("IDE", "u1"), ("DLC", "u1"), ("DataLength", "u1"), ("DataBytes", "(8,)u1")]
rows = np.array([(1, int(number), 0, 8, 8, list(bytes.fromhex(data))) for number, data in frames],
                dtype=[(f"CAN_DataFrame.{name}", kind) for name, kind in fields])
source = Source("CAN", "CAN", "", Source.SOURCE_BUS, Source.BUS_TYPE_CAN)
log = MDF(version="4.11")
log.append(Signal(rows, np.arange(len(frames), dtype=float), name="CAN_DataFrame", source=source), acq_source=source)
log.save("log.mf4")
log = MDF("log.mf4")
found = list(log.extract_bus_logging({"CAN": [("bus.dbc", 0)]}).iter_channels())
decoder = can_decoder.DataFrameDecoder(can_decoder.load_dbc("bus.dbc"))
for at, (number, data) in enumerate(frames):
    there = [f"{one.name} {shown(value)}" for one in found for time, value in zip(one.timestamps, one.samples) if time == at]
    print(f"{number} {data} | asammdf:", ", ".join(there))
    frame = pd.DataFrame({"TimeStamp": [pd.Timestamp(0)], "ID": [int(number)], "IDE": [False], "DataBytes": [list(bytes.fromhex(data))]})
    table = decoder.decode_frame(frame.set_index("TimeStamp"))
    there = [f"{name} {shown(value)}" for name, value in zip(table["Signal"], table["Physical Value"])] if len(table) else []
    print(f"{number} {data} | can-decoder:", ", ".join(there))
PY
{
  node read.cjs
  venv/bin/python read.py bus.dbc canmatrix
  second/bin/python log.py
  for format in sym yaml json; do
    options=$([ $format != json ] || echo --jsonExportAll)
    venv/bin/canconvert $options bus.dbc bus.$format > log
    venv/bin/canconvert bus.$format $format.dbc >> log
    venv/bin/python read.py $format.dbc "canmatrix, converted to $format and back"
  done
} > found 2> errors || { cat errors; exit 1; }
while read -r frame; do
  echo "$frame"
  grep -F -- "$frame | " found | sed 's/.* | /  /'
done < frames | tee seen
diff seen - <<'SEEN' && echo "as it was"
256 3412fe4f00000000
  candied: Count 4660, Torque 9
  cantools: Count 4660, Torque 9
  canmatrix: Count 4660, Torque 9
  asammdf: Count 4660, Torque 9
  can-decoder: Count 4660, Torque 9
  canmatrix, converted to sym and back: Count 4660, Torque 9
  canmatrix, converted to yaml and back: Count 4660, Torque 9
  canmatrix, converted to json and back: Count 4660, Torque 9
257 000012340ff10000
  candied: Whole 0, Part 1665
  cantools: Whole 4660, Part -15
  canmatrix: Whole 4660, Part -15
  asammdf: Whole 4660, Part -15
  can-decoder: Whole 4660, Part -15
  canmatrix, converted to sym and back: Whole 4660, Part -15
  canmatrix, converted to yaml and back: Whole 4660, Part -15
  canmatrix, converted to json and back: Whole 4660, Part -15
258 0100000000002000
  candied: Serial 9007199254740992
  cantools: Serial 9007199254740993
  canmatrix: Serial 9007199254740993
  asammdf: Serial 9007199254740993
  can-decoder: Serial 9007199254740992
  canmatrix, converted to sym and back: Serial 9007199254740993
  canmatrix, converted to yaml and back: Serial 9007199254740993
  canmatrix, converted to json and back: Serial 9007199254740993
259 000020c100000000
  candied: Single -1054867456
  cantools: Single -10
  canmatrix: Single -10
  asammdf: Single -10
  can-decoder: Single -10
  canmatrix, converted to sym and back: Single -1054867456
  canmatrix, converted to yaml and back: Single -10
  canmatrix, converted to json and back: Single -10
260 000000000000f83f
  candied: Double 4609434218613702700
  cantools: Double 1.5
  canmatrix: Double 1.5
  asammdf: Double 1.5
  can-decoder: Double 1.5
  canmatrix, converted to sym and back: Double 4609434218613702656
  canmatrix, converted to yaml and back: Double 1.5
  canmatrix, converted to json and back: Double 1.5
261 00feff0000000000
  candied: Mode 0, Speed 65534, Heat -2
  cantools: Mode 0, Speed 65534
  canmatrix: Mode 0, Speed 65534
  asammdf: Mode 0, Speed 65534
  can-decoder: Speed 65534
  canmatrix, converted to yaml and back: Mode 0, Speed 65534, Heat -2
  canmatrix, converted to json and back: Mode 0, Speed 65534, Heat -2
261 01feff0000000000
  candied: Mode 1, Speed 65534, Heat -2
  cantools: Mode 1, Heat -2
  canmatrix: Mode 1, Heat -2
  asammdf: Mode 1, Heat -2
  can-decoder: Heat -2
  canmatrix, converted to yaml and back: Mode 1, Speed 65534, Heat -2
  canmatrix, converted to json and back: Mode 1, Speed 65534, Heat -2
262 0121000000000000
  candied: Kind 1, Pressure 33
  cantools: Kind 1, Pressure 33
  canmatrix: Kind 1, Pressure 33
  asammdf: Kind 1, Pressure 33
  can-decoder: Pressure 33
  canmatrix, converted to yaml and back: Kind 1, Pressure 33
  canmatrix, converted to json and back: Kind 1, Pressure 33
262 0621000000000000
  candied: Kind 6, Pressure 33
  cantools: Kind 6, Pressure 33
  canmatrix: Kind 6, Pressure 33
  asammdf: Kind 6
  can-decoder: 
  canmatrix, converted to yaml and back: Kind 6, Pressure 33
  canmatrix, converted to json and back: Kind 6, Pressure 33
263 0200000000000000
  candied: Fill low
  cantools: Fill high
  canmatrix: Fill high
  asammdf: Fill high
  can-decoder: Fill 1
  canmatrix, converted to yaml and back: Fill 1
  canmatrix, converted to json and back: Fill high
263 0100000000000000
  candied: Fill 0.5
  cantools: Fill low
  canmatrix: Fill low
  asammdf: Fill low
  can-decoder: Fill 0.5
  canmatrix, converted to yaml and back: Fill 0.5
  canmatrix, converted to json and back: Fill low
SEEN

#!/usr/bin/env bash
# Five little readers of scientific files add values, leave some out or read others in valid NetCDF, HDF5, Zarr and MATLAB files.
#
# Guess: the NetCDF classic format specification pads data to 4 bytes ("values"), counts the padding in vsize ("Note on vsize"), and has no
# padding between the records of a single variable of bytes or shorts ("Note on padding"); the dimensions say how many values there are.
# The HDF5 File Format Specification 3.0 has the byte order of a type (IV.A.2.d), the value of what was never written (IV.A.2.f), fixed texts
# that are padded with zero bytes (IV.A.2.d), and attributes outside of the object's header (IV.A.2.v). Zarr's specification 2 ("Metadata")
# has chunks in the order of Fortran and filters, MATLAB's MAT-File Format (Level 5) arrays of more than two dimensions, column by column,
# and small elements in either byte order. A reader gives the values that were written, or reports what it does not support.
#
# Seen 2026-11-30, and no error. netCDF4 1.7.5.1 (NetCDF), h5py 3.16.0 (HDF5), zarr 3.1.6 and scipy 1.17.1 (MATLAB) write the files, but the
# last is one of MATLAB 6.1 that comes with scipy; scipy, pymatio 0.2.2 and pyfive 1.3.0 of PyPI and h5wasm 0.10.3 and zarrita 0.7.5 of npm
# read back what was written, only pyfive reports an error where some chunks were never written:
#
#   NetCDF: three shorts, one short         netcdfjs 4.0.0 of npm: four with -32767 behind them, two
#   NetCDF: a short in each record          netcdfjs: a pair with padding
#   NetCDF: records of 3 bytes, no others   netcdfjs: 1 2 3, 4 5 6 is 1 2 3 4, 5 6 0 0
#   HDF5: big-endian numbers                h5coro 1.0.7 of PyPI: 1 is 16777216, 1.5 is 6.9e-41
#   HDF5: values that were never written    jsfive 0.4.2 of npm: undefined instead of the file's fill value
#   HDF5: 2^53 + 1, 2^64 - 1                jsfive: 2^53, 2^64
#   HDF5: texts of a fixed length           jsfive: with the zero bytes of the padding
#   HDF5: more than 8 attributes            jsfive: none at all, in files of NetCDF's own library
#   Zarr: chunks in the order of Fortran    zarr-js 3.3.0 of npm: the numbers in other places; filters: the differences instead of the sums
#   MATLAB: an array of 2 x 2 x 3           mat-for-js 1.1.0 of npm: 8 of 12 numbers are wrong, some come twice and four of them nowhere
#   MATLAB: -1 on a big-endian computer     mat-for-js: 255
#
# So for readers like these a file has little-endian numbers of at most 32 bits or floats, in C's order, without filters, all written, and
# its arrays have at most two dimensions.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . netcdfjs@4.0.0 jsfive@0.4.2 h5wasm@0.10.3 zarr-js@3.3.0 zarrita@0.7.5 \
    @zarrita/storage@0.2.0 mat-for-js@1.1.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 netCDF4==1.7.5.1.post1 h5py==3.16.0 zarr==3.1.6 numcodecs==0.16.6 \
    scipy==1.17.1 pyfive==1.3.0 pymatio==0.2.2
venv/bin/pip install --quiet --disable-pip-version-check --no-deps h5coro==1.0.7
cat > write.py <<'PY'
import pathlib
import shutil
import warnings
warnings.simplefilter("ignore")
import h5py
import netCDF4
import numcodecs
import numpy
import scipy.io
import zarr

def classic(name, variables, **dimensions):
    with netCDF4.Dataset(name, "w", format="NETCDF3_CLASSIC") as file:
        for dimension, size in dimensions.items():
            file.createDimension(dimension, size)
        for variable, kind, of, values in variables:
            file.createVariable(variable, kind, of)[...] = values

classic("fixed.nc", [("ints", "i4", ("x",), [1, 2, 3]), ("shorts", "i2", ("x",), [1, 2, 3]), ("short", "i2", (), 7)], x=3)
classic("records.nc", [("int", "i4", ("t",), [1, 2, 3]), ("short", "i2", ("t",), [1, 2, 3])], t=None)
classic("single.nc", [("bytes", "i1", ("t", "x"), [[1, 2, 3], [4, 5, 6]])], t=None, x=3)
for count in 8, 9:
    with netCDF4.Dataset(f"attributes{count}.h5", "w") as file:
        for number in range(count - 1):
            file.setncattr(f"a{number}", "text")
with h5py.File("data.h5", "w") as file:
    for name, kind, values in [("little int", "<i4", [1, 2, 3]), ("big int", ">i4", [1, 2, 3]), ("little float", "<f4", [1.5, 2.5]),
                               ("big float", ">f4", [1.5, 2.5]), ("64 bits", "<u8", [2 ** 53 - 1, 2 ** 53 + 1, 2 ** 64 - 1]),
                               ("fixed texts", "S3", [b"abc", b"d"])]:
        file[name] = numpy.array(values, kind)
    file.create_dataset("unwritten", (3,), "<i4", fillvalue=7)
    file.create_dataset("partly written", (6,), "<i4", chunks=(2,), fillvalue=7)[:2] = [1, 2]
numbers = numpy.arange(6, dtype="<i4").reshape(2, 3)
for name, options in [("C order", {}), ("Fortran order", {"order": "F"}), ("Delta filter", {"filters": [numcodecs.Delta("<i4")]})]:
    array = zarr.create_array(name, shape=(2, 3), chunks=(2, 3), dtype="<i4", zarr_format=2, compressors=numcodecs.GZip(), **options)
    array[...] = numbers
scipy.io.savemat("arrays.mat", {"two dimensions": numpy.arange(6.).reshape(2, 3), "three dimensions": numpy.arange(12.).reshape(2, 2, 3)})
matlab = pathlib.Path(scipy.io.__file__).parent / "matlab/tests/data"
shutil.copy(matlab / "testminus_7.4_GLNX86.mat", "little.mat")
shutil.copy(matlab / "testminus_6.1_SOL2.mat", "big.mat")
PY
cat > read.py <<'PY'
import json
import warnings
warnings.simplefilter("ignore")
import h5coro.filedriver
import h5coro.h5coro
import numpy
import pyfive
import pymatio
import scipy.io

def show(case, reader, get):
    try:
        value = numpy.asarray(get()).tolist()
    except KeyError:
        value = "an error"
    print(f"{case} | {reader}: {json.dumps(value, default=bytes.decode)}")

for name, variables in [("fixed", ["ints", "shorts", "short"]), ("records", ["int", "short"]), ("single", ["bytes"])]:
    with scipy.io.netcdf_file(f"{name}.nc", mmap=False) as file:
        for variable in variables:
            show(f"NetCDF {name} {variable}", "scipy", lambda: file.variables[variable].data)
file = pyfive.File("data.h5")
for name in ["little int", "big int", "little float", "big float", "64 bits", "fixed texts", "unwritten", "partly written"]:
    show(f"HDF5 {name}", "pyfive", lambda: file[name][()])
    if name not in ("fixed texts", "unwritten"):
        coro = h5coro.h5coro.H5Coro("data.h5", h5coro.filedriver.FileDriver, errorChecking=True, multiProcess=False)
        show(f"HDF5 {name}", "h5coro", lambda: coro.readDatasets([name], block=True)[name])
for count in 8, 9:
    show(f"HDF5 {count} attributes", "pyfive", lambda: len(pyfive.File(f"attributes{count}.h5").attrs))
for file, name, variable in [("arrays", "two dimensions", "two dimensions"), ("arrays", "three dimensions", "three dimensions"),
                             ("little", "little-endian", "testminus"), ("big", "big-endian", "testminus")]:
    show(f"MATLAB {name}", "scipy", lambda: scipy.io.loadmat(f"{file}.mat")[variable])
    show(f"MATLAB {name}", "pymatio", lambda: pymatio.loadmat(f"{file}.mat")[variable])
PY
cat > read.mjs <<'JS'
import { readFileSync, promises } from 'node:fs'
import { createRequire } from 'node:module'
import FileSystemStore from '@zarrita/storage/fs'
import h5wasm from 'h5wasm/node'
import { File } from 'jsfive'
import { read } from 'mat-for-js'
import { NetCDFReader } from 'netcdfjs'
import * as zarrita from 'zarrita'
const zarrJs = createRequire(import.meta.url)('zarr-js')(promises.readFile)
const show = (name, reader, value) => {
  const text = JSON.stringify(Array.isArray(value) || ArrayBuffer.isView(value) ? Array.from(value, item => item ?? 'undefined') : value,
    (key, item) => typeof item === 'bigint' ? `${item}n` : item)
  console.log(`${name} | ${reader}: ${text}`)
}
const buffer = name => new Uint8Array(readFileSync(name)).buffer
for (const [name, variables] of Object.entries({ fixed: ['ints', 'shorts', 'short'], records: ['int', 'short'], single: ['bytes'] })) {
  const file = new NetCDFReader(readFileSync(`${name}.nc`))
  for (const variable of variables) show(`NetCDF ${name} ${variable}`, 'netcdfjs', file.getDataVariable(variable))
}
await h5wasm.ready
const wasm = new h5wasm.File('data.h5', 'r')
const five = new File(buffer('data.h5'), 'data.h5')
for (const name of ['little int', 'big int', 'little float', 'big float', '64 bits', 'fixed texts', 'unwritten', 'partly written']) {
  show(`HDF5 ${name}`, 'h5wasm', wasm.get(name).value)
  show(`HDF5 ${name}`, 'jsfive', five.get(name).value)
}
for (const count of [8, 9]) {
  show(`HDF5 ${count} attributes`, 'h5wasm', Object.keys(new h5wasm.File(`attributes${count}.h5`, 'r').attrs).length)
  show(`HDF5 ${count} attributes`, 'jsfive', Object.keys(new File(buffer(`attributes${count}.h5`), 'x').attrs).length)
}
for (const name of ['C order', 'Fortran order', 'Delta filter']) {
  const chunk = await zarrita.get(await zarrita.open(new FileSystemStore(name), { kind: 'array' }))
  show(`Zarr ${name}`, 'zarrita', [0, 1].map(row => [0, 1, 2].map(column => chunk.data[row * chunk.stride[0] + column * chunk.stride[1]])))
  const array = await new Promise((resolve, reject) => zarrJs.load(name, (error, array) => error ? reject(error) : resolve(array)))
  show(`Zarr ${name}`, 'zarr-js', [0, 1].map(row => [0, 1, 2].map(column => array.get(row, column))))
}
const arrays = read(buffer('arrays.mat')).data
for (const name of ['two dimensions', 'three dimensions']) show(`MATLAB ${name}`, 'mat-for-js', arrays[name])
show('MATLAB little-endian', 'mat-for-js', read(buffer('little.mat')).data.testminus)
show('MATLAB big-endian', 'mat-for-js', read(buffer('big.mat')).data.testminus)
JS
venv/bin/python write.py
{ venv/bin/python read.py; node read.mjs; } > read
LC_ALL=C sort -s -t '|' -k 1,1 read | tee seen
diff seen - <<'SEEN' && echo "as it was"
HDF5 64 bits | pyfive: [9007199254740991, 9007199254740993, 18446744073709551615]
HDF5 64 bits | h5coro: [9007199254740991, 9007199254740993, 18446744073709551615]
HDF5 64 bits | h5wasm: ["9007199254740991n","9007199254740993n","18446744073709551615n"]
HDF5 64 bits | jsfive: [9007199254740991,9007199254740992,18446744073709552000]
HDF5 8 attributes | pyfive: 8
HDF5 8 attributes | h5wasm: 8
HDF5 8 attributes | jsfive: 8
HDF5 9 attributes | pyfive: 9
HDF5 9 attributes | h5wasm: 9
HDF5 9 attributes | jsfive: 0
HDF5 big float | pyfive: [1.5, 2.5]
HDF5 big float | h5coro: [6.896490392174587e-41, 1.156912012146569e-41]
HDF5 big float | h5wasm: [1.5,2.5]
HDF5 big float | jsfive: [1.5,2.5]
HDF5 big int | pyfive: [1, 2, 3]
HDF5 big int | h5coro: [16777216, 33554432, 50331648]
HDF5 big int | h5wasm: [1,2,3]
HDF5 big int | jsfive: [1,2,3]
HDF5 fixed texts | pyfive: ["abc", "d"]
HDF5 fixed texts | h5wasm: ["abc","d"]
HDF5 fixed texts | jsfive: ["abc","d\u0000\u0000"]
HDF5 little float | pyfive: [1.5, 2.5]
HDF5 little float | h5coro: [1.5, 2.5]
HDF5 little float | h5wasm: [1.5,2.5]
HDF5 little float | jsfive: [1.5,2.5]
HDF5 little int | pyfive: [1, 2, 3]
HDF5 little int | h5coro: [1, 2, 3]
HDF5 little int | h5wasm: [1,2,3]
HDF5 little int | jsfive: [1,2,3]
HDF5 partly written | pyfive: "an error"
HDF5 partly written | h5coro: [1, 2, 7, 7, 7, 7]
HDF5 partly written | h5wasm: [1,2,7,7,7,7]
HDF5 partly written | jsfive: [1,2,"undefined","undefined","undefined","undefined"]
HDF5 unwritten | pyfive: [7, 7, 7]
HDF5 unwritten | h5wasm: [7,7,7]
HDF5 unwritten | jsfive: ["undefined","undefined","undefined"]
MATLAB big-endian | scipy: [[-1]]
MATLAB big-endian | pymatio: [[-1.0]]
MATLAB big-endian | mat-for-js: [255]
MATLAB little-endian | scipy: [[-1]]
MATLAB little-endian | pymatio: [[-1.0]]
MATLAB little-endian | mat-for-js: [-1]
MATLAB three dimensions | scipy: [[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]]
MATLAB three dimensions | pymatio: [[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]]
MATLAB three dimensions | mat-for-js: [[[0,3,1],[3,1,4]],[[6,9,7],[9,7,10]]]
MATLAB two dimensions | scipy: [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
MATLAB two dimensions | pymatio: [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
MATLAB two dimensions | mat-for-js: [[0,1,2],[3,4,5]]
NetCDF fixed ints | scipy: [1, 2, 3]
NetCDF fixed ints | netcdfjs: [1,2,3]
NetCDF fixed short | scipy: 7
NetCDF fixed short | netcdfjs: [7,-32767]
NetCDF fixed shorts | scipy: [1, 2, 3]
NetCDF fixed shorts | netcdfjs: [1,2,3,-32767]
NetCDF records int | scipy: [1, 2, 3]
NetCDF records int | netcdfjs: [1,2,3]
NetCDF records short | scipy: [1, 2, 3]
NetCDF records short | netcdfjs: [[1,-32767],[2,-32767],[3,-32767]]
NetCDF single bytes | scipy: [[1, 2, 3], [4, 5, 6]]
NetCDF single bytes | netcdfjs: [[1,2,3,4],[5,6,0,0]]
Zarr C order | zarrita: [[0,1,2],[3,4,5]]
Zarr C order | zarr-js: [[0,1,2],[3,4,5]]
Zarr Delta filter | zarrita: [[0,1,2],[3,4,5]]
Zarr Delta filter | zarr-js: [[0,1,1],[1,1,1]]
Zarr Fortran order | zarrita: [[0,1,2],[3,4,5]]
Zarr Fortran order | zarr-js: [[0,3,1],[4,2,5]]
SEEN

#!/usr/bin/env python3
"""Measures which programs extract a published directory completely.

    python3 tests/extractors/measure.py --node target/release/rpp-node [--large] [--path DIR]... [--npm DIR]

Publishes a directory with everything that the format knows, extracts the payload with every extractor that is found in PATH or in
a DIR, and compares the result with the source. `--large` adds a sparse file of 8 GiB with a small one after it: most
programs write its zeros, so give --work a folder with 20 GB of room or a compressed file system. `--npm DIR` is where
`npm --prefix DIR i tar tar-stream tar-fs` was run, `--jar FILE` a commons-compress and what it needs, separated by `:`. Prints one row of a table per extractor. Not a part of the tests.
"""

import argparse, json, os, shutil, stat, subprocess, sys, tempfile

NODE = r"""
const tar = require('tar');
tar.x({file: process.argv[1], cwd: process.argv[2], sync: true, strict: true});
"""
TAR_FS = r"""
const fs = require('fs'), {pipeline} = require('stream');
pipeline(fs.createReadStream(process.argv[1]), require('tar-fs').extract(process.argv[2]), e => { if (e) { console.error(e.message); process.exit(1); } });
"""
EXTRACTORS = {
    "GNU tar": ("tar", ["tar", "--version"], lambda p, d: ["tar", "xf", p, "-C", d]),
    "Python tarfile": ("python3", ["python3", "--version"], lambda p, d: ["python3", "-m", "tarfile", "-e", p, d]),
    "bsdtar (libarchive)": ("bsdtar", ["bsdtar", "--version"], lambda p, d: ["bsdtar", "xf", p, "-C", d]),
    "busybox tar": ("busybox", ["busybox"], lambda p, d: ["busybox", "tar", "xf", p, "-C", d]),
    "pax (MirBSD)": ("pax", ["sh", "-c", "echo \"as packaged\""], lambda p, d: ["sh", "-c", f"cd {d} && pax -r -f {p}"]),
    "GNU cpio": ("cpio", ["cpio", "--version"], lambda p, d: ["sh", "-c", f"cd {d} && cpio -id --quiet < {p}"]),
    "7-Zip": ("7zz", ["7zz"], lambda p, d: ["7zz", "x", "-ttar", "-y", "-bso0", f"-o{d}", p]),
    "Perl Archive::Tar": ("perl", ["perl", "-MArchive::Tar", "-e", "print Archive::Tar->VERSION"],
                          lambda p, d: ["perl", "-MArchive::Tar", "-e", "chdir $ARGV[1]; Archive::Tar->extract_archive($ARGV[0]) or die Archive::Tar->error", p, d]),
    "node-tar": ("node", None, lambda p, d: ["node", "-e", NODE, p, d]),
    "tar-fs (tar-stream)": ("node", None, lambda p, d: ["node", "-e", TAR_FS, p, d]),
    "Go archive/tar": ("go", ["go", "version"], lambda p, d: [os.path.join(os.environ["EXTRACT_BUILT"], "extract"), p, d]),
    "commons-compress (Java)": ("java", None, lambda p, d: ["java", "-cp", f"{os.environ['EXTRACT_JAR']}:{os.environ['EXTRACT_BUILT']}", "Extract", p, d]),
    "rpp-node unpack": (None, None, None),
}
# Extractors that are found only through an option.
NEEDS = {"node-tar": "npm", "tar-fs (tar-stream)": "npm", "commons-compress (Java)": "jar"}


def make_small(root):
    def put(path, content=b"content of it\n", mode=0o644):
        path = os.path.join(root, path) if isinstance(path, str) else os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(content)
        os.chmod(path, mode)

    put("plain/file")
    put("plain/empty", b"")
    put("plain/run", b"#!/bin/sh\n", 0o755)
    put("names/with space")
    put("names/b\u00e4r \u6f22")
    put("names/line\nfeed")
    put("names/-dash")
    put("split/" + "p" * 90 + "/" + "n" * 60)
    put("long/" + "m" * 150)
    put("deep/" + "/".join(["d" * 90] * 4) + "/file")
    put("longfeed/" + "a\n" + "n" * 150)
    put(b"bytes/not-utf8-\xe9\xff")
    os.makedirs(os.path.join(root, "void/inner"))
    for name, target in [("links/same", "inside"), ("links/up", "../plain/file"), ("links/dangling", "nowhere"),
                         ("links/long", "t" * 150), ("links/folder", "../plain")]:
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)
    put("links/inside")
    put("z-last")


def make_large(root):
    os.makedirs(root)
    with open(os.path.join(root, "large"), "wb") as out:
        out.truncate((8 << 30) + 5)
        out.seek(8 << 30)
        out.write(b"tail\n")
    with open(os.path.join(root, "z-after"), "wb") as out:
        out.write(b"after the large one\n")


def entries(root):
    found = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                what = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                what = ("folder",)
            elif status.st_size > 1 << 20:
                with open(path, "rb") as file:
                    file.seek(-5, 2)
                    what = ("file", status.st_size, file.read())
            else:
                with open(path, "rb") as file:
                    what = ("file", status.st_mode & 0o100, file.read())
            found[os.path.relpath(path, top)] = what
    return found


def short(path):
    text = ascii(path.decode("utf-8", "surrogateescape"))[1:-1]
    return text if len(text) < 40 else text[:24] + "..." + text[-6:]


def compare(source, out):
    wanted, got = entries(source), entries(out)
    lines = [f"missing {short(path)}" for path in sorted(wanted) if path not in got]
    lines += [f"{short(path)} is {short(repr(got[path]).encode())}" for path in sorted(wanted) if path in got and got[path] != wanted[path]]
    lines += [f"surplus {short(path)}" for path in sorted(got) if path not in wanted]
    return lines


def publish(node, work, source, height):
    place = os.path.join(work, "node")
    if not os.path.exists(place):
        subprocess.run([node, "init", "--publisher", "--dir", place], check=True, stdout=subprocess.DEVNULL)
    config = os.path.join(place, "node.toml")
    made = subprocess.run([node, "publish", "--config", config, "--height", str(height), "--json", source],
                          check=True, stdout=subprocess.PIPE)
    root = json.loads(made.stdout)["root"]
    return config, root, os.path.join(place, "data/snapshots/store", root, "payload")


def build(extractor, options, place):
    """Compiles the small programs here that use a library."""
    here = os.path.dirname(os.path.abspath(__file__))
    if extractor == "Go archive/tar":
        go = dict(os.environ, GOCACHE=os.path.join(place, "cache"), GO111MODULE="off")
        subprocess.run(["go", "build", "-o", os.path.join(place, "extract"), os.path.join(here, "extract.go")], check=True, env=go)
    elif extractor == "commons-compress (Java)":
        os.environ["EXTRACT_JAR"] = options.jar
        subprocess.run(["javac", "-nowarn", "-cp", options.jar, "-d", place, os.path.join(here, "Extract.java")],
                       check=True, stderr=subprocess.DEVNULL)


def version(name, command, npm, jar):
    if name in ("node-tar", "tar-fs (tar-stream)"):
        package = "tar" if name == "node-tar" else "tar-fs"
        with open(os.path.join(npm, "node_modules", package, "package.json")) as file:
            return json.load(file)["version"]
    if name == "commons-compress (Java)":
        return os.path.basename(jar.split(":")[0])
    if command is None:
        return ""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    lines = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    return lines[0] if lines else "?"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--node", required=True)
    parser.add_argument("--path", action="append", default=[])
    parser.add_argument("--npm", default="")
    parser.add_argument("--jar", default="")
    parser.add_argument("--work")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    options = parser.parse_args()
    node = os.path.abspath(options.node)
    os.environ["PATH"] = os.pathsep.join(options.path + [os.environ["PATH"]])
    if options.npm:
        os.environ["NODE_PATH"] = os.path.join(os.path.abspath(options.npm), "node_modules")
    with tempfile.TemporaryDirectory(dir=options.work and os.path.abspath(options.work)) as work:
        built = os.environ["EXTRACT_BUILT"] = os.path.join(work, "built")
        os.mkdir(built)
        cases = []
        for name, make in [("small", make_small)] + ([("large", make_large)] if options.large else []):
            source = os.path.join(work, name)
            make(source)
            cases.append((name, source) + publish(node, work, source, len(cases) + 1))
        for extractor, (program, asked, command) in EXTRACTORS.items():
            if options.only and extractor not in options.only:
                continue
            option = NEEDS.get(extractor)
            if program is not None and (shutil.which(program) is None or option and not vars(options)[option]):
                print(f"{extractor}: not found", flush=True)
                continue
            print(f"{extractor}: {version(extractor, asked, options.npm, options.jar)}", flush=True)
            build(extractor, options, built)
            for name, source, config, root, payload in cases:
                if name == "large" and program == "perl":
                    print("  large: not tried, it holds each file in memory")
                    continue
                out = os.path.join(work, "out")
                if command is None:
                    line = [node, "unpack", "--config", config, root, out]
                else:
                    os.mkdir(out)
                    line = command(payload, out)
                done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
                lines = compare(source, out) if os.path.exists(out) else ["nothing"]
                said = done.stderr.decode(errors="replace").strip().splitlines()
                print(f"  {name}: exit {done.returncode}, {'whole' if not lines else f'{len(lines)} differences'}"
                      + (f"; says: {said[-1][:160]}" if said else ""), flush=True)
                for each in lines[:20]:
                    print(f"    {each}")
                shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

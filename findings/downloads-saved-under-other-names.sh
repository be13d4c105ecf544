#!/usr/bin/env bash
# Seven download tools and libraries of PyPI and npm save files under other names than a valid header Content-Disposition gives, and a
# parser of this header reads other names, too, with no error.
#
# Guess: RFC 6266 has the file's name in "filename" (a token or a quoted string, in which a backslash stands before what is
# meant literally) and in "filename*" (RFC 8187: charset, language, percent-encoded text); a recipient takes "filename*" if both are there,
# in whichever order; upper and lower case are the same in names of parameters; and parameters with other names may stand beside them.
# So a tool that takes the name from this header saves "a;b.txt" as a;b.txt.
#
# Seen 2026-12-01, with real downloads from a server on loopback; content-disposition 2.0.1 of npm and contentdisp 1.0.0 of PyPI read the
# same name in all cases, the one that the standard has:
#
#   "plain.txt", any quoted name   pypdl 1.5.7 takes the name of the address if the header ends there, since it strips quotation marks from
#                                  the ends of all headers and then finds no closing one; requests-toolbelt 1.0.0 makes the quotation marks
#                                  a part of the name
#   filename* beside filename      HTTPie 3.2.4, wget 3.2 of PyPI, parfive 2.3.1 and requests-toolbelt take the one without the star, which
#                                  is there for old readers; nodejs-file-downloader 4.13.0 takes the first
#   filename* alone                parfive, nodejs-file-downloader: the name of the address
#   any filename*                  node-downloader-helper 2.1.11 leaves it percent-encoded, nodejs-file-downloader its charset, too
#   "a;b.txt"                      wget, content-disposition-parser 1.0.2: a
#   "a\"b.txt"                     node-downloader-helper, nodejs-file-downloader: a; pypdl: a_; wget and content-disposition-parser keep
#                                  the backslash
#   "it's.txt"                     nodejs-file-downloader: its.txt
#   "n=1.txt"                      wget: n
#   FileName="case.txt"            nodejs-file-downloader: the name of the address
#   oldfilename before filename    nodejs-file-downloader, pypdl: that one's value
#
# So a downloader should know the name of what it fetches beforehand, as by a manifest, and a server should offer names of plain letters.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
for program in node npm python3; do command -v "$program" >/dev/null || { echo "$program is missing"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work LC_ALL=C.UTF-8 PYTHONUTF8=1 no_proxy=127.0.0.1 NO_PROXY=127.0.0.1
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . content-disposition@2.0.1 content-disposition-parser@1.0.2 \
  node-downloader-helper@2.1.11 nodejs-file-downloader@4.13.0 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check contentdisp==1.0.0 httpie==3.2.4 wget==3.2 \
  pypdl==1.5.7 parfive==2.3.1 requests-toolbelt==1.0.0 >"$work/pip.log" 2>&1 || { cat "$work/pip.log"; exit 2; }
cat > cases <<'CASES'
attachment; filename="plain.txt"
attachment; filename="f.txt"; filename*=UTF-8''n%C3%A4me.txt
attachment; filename*=UTF-8''n%C3%A4me.txt; filename="f.txt"
attachment; filename*=UTF-8'en'n%C3%A4me.txt
attachment; filename="a;b.txt"
attachment; filename="a\"b.txt"
attachment; filename="it's.txt"
attachment; filename="n=1.txt"
attachment; FileName="case.txt"
attachment; oldfilename="old.txt"; filename="new.txt"
CASES
cat > node.cjs <<'JS'
const { mkdtempSync, readdirSync, readFileSync, writeFileSync } = require('node:fs')
const { DownloaderHelper } = require('node-downloader-helper')
const { Downloader } = require('nodejs-file-downloader')
const seen = []
const ways = {
  'content-disposition': header => require('content-disposition').parse(header).parameters.filename,
  'content-disposition-parser': header => require('content-disposition-parser')(header).filename,
  'node-downloader-helper': async (header, url) => {
    const folder = mkdtempSync('saved-')
    await new DownloaderHelper(url, folder, { retry: false }).start()
    return readdirSync(folder).join()
  },
  'nodejs-file-downloader': async (header, url) => {
    const folder = mkdtempSync('saved-')
    await new Downloader({ url, directory: folder }).download()
    return readdirSync(folder).join()
  }
}
const main = async () => {
  for (const [i, header] of readFileSync('cases', 'utf8').trim().split('\n').entries()) {
    for (const [name, way] of Object.entries(ways)) {
      seen.push([i, name, await Promise.resolve().then(() => way(header, `${process.argv[2]}/${i}/url.bin`)).catch(() => 'an error')])
    }
  }
  writeFileSync('read', JSON.stringify(seen))
}
main()
JS
cat > python.py <<'PY'
import contextlib, http.server, io, json, os, pty, subprocess, sys, tempfile, textwrap, threading, warnings
warnings.simplefilter("ignore")
import contentdisp, parfive, pypdl, requests, wget
from requests_toolbelt.downloadutils import stream

cases = open("cases").read().splitlines()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Disposition", cases[int(self.path.split("/")[1])])
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", "3")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"abc")

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass

def httpie(url):
    # it saves a file only if it writes to a terminal
    leader, terminal = pty.openpty()
    command = [sys.executable, "-m", "httpie", "--ignore-stdin", "--quiet", "--download", url]
    subprocess.run(command, check=True, stdout=terminal, stderr=subprocess.DEVNULL)
    os.close(terminal)
    os.close(leader)

def toolbelt(url):
    with requests.get(url, stream=True) as response:
        stream.stream_response_to_file(response)

tools = {
    "HTTPie": httpie,
    "wget": lambda url: wget.download(url, bar=None),
    "parfive": lambda url: parfive.Downloader.simple_download([url], path="."),
    "requests-toolbelt": toolbelt,
    "pypdl": lambda url: pypdl.Pypdl().start(url=url, display=False, block=True, retries=0),
}

def saved(tool, url):
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                tool(url)
            return ", ".join(sorted(os.listdir(folder)))
        except Exception:
            return "an error"
        finally:
            os.chdir(before)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_address[1]}"
subprocess.run(["node", "--no-deprecation", "node.cjs", address], check=True)
read = json.load(open("read"))
for i, header in enumerate(cases):
    print(header)
    values = [(name, value) for case, name, value in read if case == i] + [("contentdisp", contentdisp.parse(header).filename)]
    values += [(name, saved(tool, f"{address}/{i}/url.bin")) for name, tool in tools.items()]
    names = {}
    for name, value in values:
        names.setdefault(value, []).append(name)
    for value in names:
        line = f"{value}: {', '.join(names[value])}"
        print(textwrap.fill(line, 140, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False))
PY
venv/bin/python python.py 2>errors | tee seen || { cat errors; exit 1; }
diff seen - <<'SEEN' && echo "as it was"
attachment; filename="plain.txt"
  plain.txt: content-disposition, content-disposition-parser, node-downloader-helper, nodejs-file-downloader, contentdisp, HTTPie, wget,
      parfive
  "plain.txt": requests-toolbelt
  url.bin: pypdl
attachment; filename="f.txt"; filename*=UTF-8''n%C3%A4me.txt
  näme.txt: content-disposition, content-disposition-parser, contentdisp, pypdl
  n%C3%A4me.txt: node-downloader-helper
  f.txt: nodejs-file-downloader, HTTPie, wget, parfive
  "f.txt": requests-toolbelt
attachment; filename*=UTF-8''n%C3%A4me.txt; filename="f.txt"
  näme.txt: content-disposition, content-disposition-parser, contentdisp, pypdl
  n%C3%A4me.txt: node-downloader-helper
  UTF-8n%C3%A4me.txt: nodejs-file-downloader
  f.txt: HTTPie, wget, parfive
  "f.txt": requests-toolbelt
attachment; filename*=UTF-8'en'n%C3%A4me.txt
  näme.txt: content-disposition, content-disposition-parser, contentdisp, HTTPie, pypdl
  n%C3%A4me.txt: node-downloader-helper
  url.bin: nodejs-file-downloader, parfive
  an error: wget, requests-toolbelt
attachment; filename="a;b.txt"
  a;b.txt: content-disposition, node-downloader-helper, nodejs-file-downloader, contentdisp, HTTPie, parfive
  a: content-disposition-parser, wget
  "a;b.txt": requests-toolbelt
  url.bin: pypdl
attachment; filename="a\"b.txt"
  a"b.txt: content-disposition, contentdisp, HTTPie, parfive
  a\"b.txt: content-disposition-parser, wget
  a: node-downloader-helper, nodejs-file-downloader
  "a\"b.txt": requests-toolbelt
  a_: pypdl
attachment; filename="it's.txt"
  it's.txt: content-disposition, content-disposition-parser, node-downloader-helper, contentdisp, HTTPie, wget, parfive
  its.txt: nodejs-file-downloader
  "it's.txt": requests-toolbelt
  url.bin: pypdl
attachment; filename="n=1.txt"
  n=1.txt: content-disposition, content-disposition-parser, node-downloader-helper, nodejs-file-downloader, contentdisp, HTTPie, parfive
  n: wget
  "n=1.txt": requests-toolbelt
  url.bin: pypdl
attachment; FileName="case.txt"
  case.txt: content-disposition, content-disposition-parser, node-downloader-helper, contentdisp, HTTPie, parfive
  url.bin: nodejs-file-downloader, pypdl
  an error: wget, requests-toolbelt
attachment; oldfilename="old.txt"; filename="new.txt"
  new.txt: content-disposition, content-disposition-parser, node-downloader-helper, contentdisp, HTTPie, wget, parfive
  old.txt: nodejs-file-downloader, pypdl
  "new.txt": requests-toolbelt
SEEN

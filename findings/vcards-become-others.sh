#!/usr/bin/env bash
# Eight libraries of npm and PyPI read valid vCards as other contacts or write others: names, notes, labels and addresses are cut, split at
# the wrong places or keep their backslashes, and what belongs to what is lost, with no error.
#
# Guess: RFC 6350 has "\" before a comma, a semicolon or a backslash that is meant literally, and \n for a line end (3.4); N, ADR and ORG
# have components between semicolons (6.2.2, 6.3.1, 6.6.4), NOTE has not, so a semicolon there may stand alone; a line goes on in the next
# if that begins with a blank, which alone is taken away (3.2); a parameter's value in quotation marks may have colons and semicolons
# (3.3); URIs have no such escapes (4.2), and a group ties properties together (3.3). So a reader gives what was meant, and others read
# what a writer has written.
#
# Seen 2026-12-01; ical.js 2.2.1 reads all of them right, and each right value is told by at least two other libraries, too:
#
#   N:Meyer\;Co;Anna               vcf 2.1.2 and pythonvcard4 0.2.0 read the family name Meyer and the first name Co
#   NOTE:one\ntwo\, C:\\dir        vcf keeps all escapes; vcard-parser 1.0.0 keeps \\, and so does vcard4 4.0.5 if no other escape is there
#   a blank at a line's fold       vcard-parser takes it away: "a longnote"
#   LABEL="12 Main St; Town: 1"    vcard-parser and vcf read "12 Main St, vcard4 two values; vcard-parser, vcf and pythonvcard4 have
#                                  the rest of it in the address
#   tel:+1-555-0100;ext=5          vcard-parser reads two values
#   http://x.example/?a=1;b=2,3    vobject 0.9.9 leaves ",3" out (in vCard 3.0, too), vcard-parser reads two values
#   CATEGORIES:one\,1,two          vcf reads one text with the backslash, pythonvcard4 three values
#   NOTE:a=b;c=d                   vcard4 and vcard-parser read two values
#   item2.EMAIL, item2.X-ABLABEL   vcard4-ts 0.4.1, which has a function for groups, leaves the group out, so nothing tells which address
#                                  the label is of
#   written: ORG "Meyer; Co"       vcards-js 2.11.1 writes two units
#   written: a URL with , and ;    vcards-js and vcard-generator 0.0.7 write backslashes into it
#
# So whoever moves contacts between programs should look for backslashes and semicolons afterwards.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
for program in node npm python3; do command -v "$program" >/dev/null || { echo "$program is missing"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C.UTF-8 PYTHONUTF8=1
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . vcard-parser@1.0.0 vcf@2.1.2 vcard4@4.0.5 vcard4-ts@0.4.1 \
  ical.js@2.2.1 vcards-js@2.11.1 vcard-generator@0.0.7 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check vobject==0.9.9 pythonvcard4==0.2.0 pillow==13.0.0 >pip.log 2>&1 ||
  { cat pip.log; exit 2; }
cat > cases <<'CASES'
n|N:Meyer\;Co;Anna;;;
note|NOTE:one\ntwo\, C:\\dir
note|NOTE:C:\\dir
note|NOTE:This is a long~  note
label|ADR;LABEL="12 Main St; Town: 1":;;12 Main St;Town;;1;CH
adr|ADR;LABEL="12 Main St; Town: 1":;;12 Main St;Town;;1;CH
tel|TEL;VALUE=uri:tel:+1-555-0100;ext=5
url|URL:http://x.example/?a=1;b=2,3
categories|CATEGORIES:one\,1,two
note|NOTE:a=b;c=d
group|item2.EMAIL:anna@x.example~item2.X-ABLABEL:Work
CASES
cat > node.mjs <<'JS'
import { createRequire } from 'node:module'
import { readFileSync, writeFileSync } from 'node:fs'
import ical from 'ical.js'
import { parse as parse4 } from 'vcard4'
import { parseVCards } from 'vcard4-ts'
const require = createRequire(import.meta.url)
const Card = require('vcf')
const name = kind => ({ label: 'adr', group: 'email' }[kind] ?? kind)
const some = value => Array.isArray(value) && value.length === 1 ? value[0] : value
const libraries = {
  'ical.js': (text, kind) => {
    const [, parameters, , ...values] = ical.parse(text)[1].find(([property]) => property === name(kind))
    return kind === 'label' ? parameters.label : kind === 'group' ? parameters.group : some(values)
  },
  vcf: (text, kind) => {
    const property = new Card().parse(text).get(name(kind))
    return kind === 'label' ? property.label : kind === 'group' ? property.group : property.toJSON()[3]
  },
  'vcard-parser': (text, kind) => {
    const { value, meta, namespace } = require('vcard-parser').parse(text)[name(kind)][0]
    return kind === 'label' ? some(meta.label) : kind === 'group' ? namespace : value
  },
  vcard4: (text, kind) => {
    const { parsedVcard } = parse4(text)
    const { value, parameters, group } = parsedVcard.find(({ property }) => property === name(kind).toUpperCase())
    return kind === 'label' ? parameters.LABEL : kind === 'group' ? group : /^(n|adr)$/.test(kind) ? Object.values(value) : value
  },
  'vcard4-ts': (text, kind) => {
    const found = parseVCards(text).vCards[0][name(kind).toUpperCase()]
    const { value, parameters, group } = Array.isArray(found) ? found[0] : found
    return kind === 'label' ? parameters.LABEL : kind === 'group' ? group : /^(n|adr)$/.test(kind) ? Object.values(value).map(some) : value
  }
}
const seen = readFileSync('cases', 'utf8').trim().split('\n').map(line => {
  const [kind, rest] = [line.slice(0, line.indexOf('|')), line.slice(line.indexOf('|') + 1)]
  const text = ['BEGIN:VCARD', 'VERSION:4.0', 'FN:Anna', ...rest.split('~'), 'END:VCARD', ''].join('\r\n')
  return Object.entries(libraries).map(([library, read]) => {
    try {
      return [library, read(text, kind) ?? null]
    } catch {
      return [library, 'an error']
    }
  })
})
const vcards = require('vcards-js')()
Object.assign(vcards, { version: '4.0', firstName: 'Anna', organization: 'Meyer; Co', url: 'http://x.example/?a=1;b=2,3' })
const generated = require('vcard-generator').generate({
  formattedNames: [{ text: 'Anna' }], name: { familyNames: 'Meyer', givenNames: 'Anna' }, urls: [{ uri: 'http://x.example/?a=1;b=2,3' }]
})
writeFileSync('node.json', JSON.stringify({ seen, written: { 'vcards-js': vcards.getFormattedString(), 'vcard-generator': generated } }))
JS
cat > python.py <<'PY'
import json, textwrap, warnings
warnings.simplefilter("ignore")
import vobject
from pythonvCard4.vcard import Contact

def by_vobject(text, kind):
    card = vobject.readOne(text)
    found = card.contents[{"label": "adr", "group": "email"}.get(kind, kind)][0]
    if kind == "label":
        return found.params["LABEL"][0]
    if kind == "group":
        return found.group
    if kind == "n":
        return [found.value.family, found.value.given, found.value.additional, found.value.prefix, found.value.suffix]
    if kind == "adr":
        value = found.value
        return [value.box, value.extended, value.street, value.city, value.region, value.code, value.country]
    return found.value

def by_pythonvcard4(text, kind):
    contact = Contact.from_vcard(text)
    if kind in ("label", "group"):
        return None  # it has neither
    value = getattr(contact, kind)
    return value[0]["value"] if kind in ("adr", "tel") else value[0] if kind == "url" else value

node = json.load(open("node.json"))
for line, values in zip(open("cases").read().splitlines(), node["seen"]):
    kind, rest = line.split("|", 1)
    text = "\r\n".join(["BEGIN:VCARD", "VERSION:4.0", "FN:Anna", *rest.split("~"), "END:VCARD", ""])
    for library, read in {"vobject": by_vobject, "pythonvcard4": by_pythonvcard4}.items():
        try:
            values.append((library, read(text, kind)))
        except Exception:
            values.append((library, "an error"))
    print(f"{kind} of {rest.replace('~', '<line end>')}")
    told = {}
    for library, value in values:
        if library != "pythonvcard4" or value is not None:
            told.setdefault(json.dumps(value, ensure_ascii=False), []).append(library)
    for value in told:
        line = f"{value}: {', '.join(told[value])}"
        print(textwrap.fill(line, 140, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False))
card = vobject.readOne("\r\n".join(["BEGIN:VCARD", "VERSION:3.0", "N:Meyer;Anna;;;", "FN:Anna",
                                     "URL:http://x.example/?a=1;b=2,3", "END:VCARD", ""]))
print(f"vobject reads the URL in a card of version 3.0 as {card.url.value}")
for library, text in node["written"].items():
    print(f"{library} writes {' and '.join(part for part in text.splitlines() if part.startswith(('ORG', 'URL')))}")
    for part in vobject.readOne(text).contents.get("org", []):
        print(f"  which vobject reads as {part.value}")
PY
node node.mjs
venv/bin/python python.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
n of N:Meyer\;Co;Anna;;;
  ["Meyer;Co", "Anna", "", "", ""]: ical.js, vcard-parser, vcard4, vcard4-ts, vobject
  ["Meyer\\", "Co", "Anna", "", "", ""]: vcf
  ["Meyer", "Co", "Anna", "", "", ""]: pythonvcard4
note of NOTE:one\ntwo\, C:\\dir
  "one\ntwo, C:\\dir": ical.js, vcard4, vcard4-ts, vobject, pythonvcard4
  "one\\ntwo\\, C:\\\\dir": vcf
  "one\ntwo, C:\\\\dir": vcard-parser
note of NOTE:C:\\dir
  "C:\\dir": ical.js, vcard4-ts, vobject, pythonvcard4
  "C:\\\\dir": vcf, vcard-parser, vcard4
note of NOTE:This is a long<line end>  note
  "This is a long note": ical.js, vcf, vcard4, vcard4-ts, vobject, pythonvcard4
  "This is a longnote": vcard-parser
label of ADR;LABEL="12 Main St; Town: 1":;;12 Main St;Town;;1;CH
  "12 Main St; Town: 1": ical.js, vcard4-ts, vobject
  "\"12 Main St": vcf, vcard-parser
  ["12 Main St", " Town: 1"]: vcard4
adr of ADR;LABEL="12 Main St; Town: 1":;;12 Main St;Town;;1;CH
  ["", "", "12 Main St", "Town", "", "1", "CH"]: ical.js, vcard4, vcard4-ts, vobject
  [" 1\":", "", "12 Main St", "Town", "", "1", "CH"]: vcf, vcard-parser, pythonvcard4
tel of TEL;VALUE=uri:tel:+1-555-0100;ext=5
  "tel:+1-555-0100;ext=5": ical.js, vcf, vcard4, vcard4-ts, vobject, pythonvcard4
  ["tel:+1-555-0100", "ext=5"]: vcard-parser
url of URL:http://x.example/?a=1;b=2,3
  "http://x.example/?a=1;b=2,3": ical.js, vcf, vcard4, vcard4-ts, pythonvcard4
  ["http://x.example/?a=1", "b=2,3"]: vcard-parser
  "http://x.example/?a=1;b=2": vobject
categories of CATEGORIES:one\,1,two
  ["one,1", "two"]: ical.js, vcard-parser, vcard4, vcard4-ts, vobject
  "one\\,1,two": vcf
  ["one", "1", "two"]: pythonvcard4
note of NOTE:a=b;c=d
  "a=b;c=d": ical.js, vcf, vcard4-ts, vobject, pythonvcard4
  ["a=b", "c=d"]: vcard-parser, vcard4
group of item2.EMAIL:anna@x.example<line end>item2.X-ABLABEL:Work
  "item2": ical.js, vcf, vcard-parser, vcard4, vobject
  null: vcard4-ts
vobject reads the URL in a card of version 3.0 as http://x.example/?a=1;b=2
vcards-js writes ORG:Meyer; Co and URL:http://x.example/?a=1;b=2\,3
  which vobject reads as ['Meyer', ' Co']
vcard-generator writes URL:http://x.example/?a=1\;b=2\,3
SEEN

#!/usr/bin/env bash
# Five libraries read other names, times and values from valid DNS zone files, or leave records out, with no error.
#
# Guess: RFC 1035 (5.1) a line that begins with a blank has the owner of the line before it; $ORIGIN holds for the names after it; class and
# TTL come in either order, and a name may be a number; parentheses go on over the end of a line, but not within quotes; a ";" in quotes
# begins no comment; \" is a quote and \. a dot within a label. (2.3.3) Any case counts the same. (3.3.14) A TXT record is one string or
# more. RFC 2308 (4): $TTL holds for the records after it. RFC 2782: SRV's target is a domain name like others. So all find the same.
#
# Seen 2026-11-30 with zone-file 1.0.0, dns-zonefile 0.3.2 and dnsz 4.5.2 of npm, dnslib 0.9.26 and zonefile-parser 0.1.20 of PyPI; dnspython
# 2.8.0 of PyPI reads all of it right. The only error is that of dnslib for the class before the TTL and for "in" in small letters:
#
#   an AAAA record without its owner        zone-file: the owner is "IN", or "300" if there is a TTL; dns-zonefile, zonefile-parser: the
#                                           origin; dnsz leaves the record out if it has neither class nor TTL
#   a second $ORIGIN, a second $TTL         zone-file, dns-zonefile: hold for the records before them, too; zonefile-parser: the first $TTL
#                                           for all
#   the class before the TTL                dns-zonefile: no record; dnsz: type "IN"; zonefile-parser: type "60"; zone-file: another TTL
#   4 IN PTR host.example.net.              dnsz: a PTR of the origin with a TTL of 4
#   a ";" in a TXT record                   zone-file cuts it there, as in every DKIM key
#   "a (b) c" in a TXT record               dns-zonefile: no record; zone-file: "a  b  c"; zonefile-parser: "a ()c"
#   a TXT record with two strings           zonefile-parser: the first; in parentheses both as one, and dns-zonefile: no record
#   \" in a TXT record                      zone-file: three strings
#   a\.b                                    zonefile-parser: a.b, which is another name
#   www in a 192.0.2.1                      dns-zonefile: no record
#   an SRV record's target "www"            dnslib: "www." instead of www under the origin; of an MX record it reads it right
#
# So a zone file for strangers has one $ORIGIN and one $TTL, and each line the full name, the TTL, the class and the type in this order.
#
# Needs node with npm, python3 with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . zone-file@1.0.0 dns-zonefile@0.3.2 dnsz@4.5.2 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dnspython==2.8.0 dnslib==0.9.26 zonefile-parser==0.1.20
cat > cases <<'CASES'
www 600 IN A 192.0.2.1
www IN A 192.0.2.1|    IN AAAA 2001:db8::1
www IN A 192.0.2.1|    300 IN AAAA 2001:db8::1
www IN A 192.0.2.1|    AAAA 2001:db8::1
www IN A 192.0.2.1|$ORIGIN sub.example.com.|www IN A 192.0.2.2
one IN A 192.0.2.1|$TTL 60|two IN A 192.0.2.2
www IN 60 A 192.0.2.1
4 IN PTR host.example.net.
text IN TXT "one"
text IN TXT "v=DKIM1; k=rsa; p=AAAA"
text IN TXT "a (b) c"
text IN TXT "one" "two"
text IN TXT ( "one"|  "two" )
text IN TXT "say \"hi\" once"
a\.b IN A 192.0.2.1
www in a 192.0.2.1
www IN MX 10 www
www IN SRV 1 2 3 www
CASES
cat > read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import zoneFile from 'zone-file'
import dnsZonefile from 'dns-zonefile'
import { parseZone } from 'dnsz'
const list = zone => Object.entries(zone).filter(([type]) => Array.isArray(zone[type])).flatMap(([type, records]) => records.map(record => {
  const { name, ttl, fullname, ...data } = record
  const owner = name === '@' ? zone.$origin : `${name}.${zone.$origin}`
  return `${owner} ${ttl ?? zone.$ttl} ${type.toUpperCase()} ${Object.values(data).map(value => JSON.stringify(value)).join(' ')}`
}))
const libraries = {
  'zone-file': text => list(zoneFile.parseZoneFile(text)),
  'dns-zonefile': text => list(dnsZonefile.parse(text)),
  'dnsz': text => parseZone(text).records.map(one => `${one.name}. ${one.ttl} ${one.type} ${one.content}`)
}
for (const line of readFileSync('cases', 'utf8').trim().split('\n')) {
  const text = ['$ORIGIN example.com.', '$TTL 3600', '@ IN SOA ns host 1 86400 7200 604800 300', '@ IN NS ns.example.net.', ...line.split('|'), ''].join('\n')
  for (const [name, read] of Object.entries(libraries)) console.log(`${line} => ${name}: ${read(text).filter(one => !/ (SOA|NS) /.test(one)).join(', ') || 'no record'}`)
}
JS
cat > read.py <<'PY'
import dns.rdatatype, dns.zone, dnslib, zonefile_parser

def dnspython(text):
    zone = dns.zone.from_text(text, relativize=False)
    return [f"{name} {ttl} {dns.rdatatype.to_text(data.rdtype)} {data}" for name, ttl, data in zone.iterate_rdatas()]

def of_dnslib(text):
    return [f"{one.rname} {one.ttl} {dnslib.QTYPE[one.rtype]} {one.rdata}" for one in dnslib.RR.fromZone(text)]

def parser(text):
    return [f"{one.name} {one.ttl} {one.rtype} {' '.join(one.rdata.values())}" for one in zonefile_parser.parse(text)]

for line in open("cases"):
    line = line.rstrip("\n")
    text = "\n".join(["$ORIGIN example.com.", "$TTL 3600", "@ IN SOA ns host 1 86400 7200 604800 300", "@ IN NS ns.example.net.", *line.split("|"), ""])
    for name, read in [("dnspython", dnspython), ("dnslib", of_dnslib), ("zonefile-parser", parser)]:
        try:
            records = [record for record in read(text) if " SOA " not in record and " NS " not in record]
        except Exception:
            records = ["an error"]
        print(f"{line} => {name}: {', '.join(records) or 'no record'}")
PY
{ venv/bin/python read.py; node read.mjs; } > read
while IFS= read -r line; do
  echo "$line"
  grep -F -- "$line => " read | sed "s/.* => /  /"
done < cases | tee seen
diff seen - <<'SEEN' && echo "as it was"
www 600 IN A 192.0.2.1
  dnspython: www.example.com. 600 A 192.0.2.1
  dnslib: www.example.com. 600 A 192.0.2.1
  zonefile-parser: www.example.com. 600 A 192.0.2.1
  zone-file: www.example.com. 600 A "192.0.2.1"
  dns-zonefile: www.example.com. 600 A "192.0.2.1"
  dnsz: www.example.com. 600 A 192.0.2.1
www IN A 192.0.2.1|    IN AAAA 2001:db8::1
  dnspython: www.example.com. 3600 A 192.0.2.1, www.example.com. 3600 AAAA 2001:db8::1
  dnslib: www.example.com. 3600 A 192.0.2.1, www.example.com. 3600 AAAA 2001:db8::1
  zonefile-parser: www.example.com. 3600 A 192.0.2.1, example.com. 3600 AAAA 2001:db8::1
  zone-file: www.example.com. 3600 A "192.0.2.1", IN.example.com. 3600 AAAA "2001:db8::1"
  dns-zonefile: www.example.com. 3600 A "192.0.2.1", example.com. 3600 AAAA "2001:db8::1"
  dnsz: www.example.com. 3600 A 192.0.2.1, www.example.com. 3600 AAAA 2001:db8::1
www IN A 192.0.2.1|    300 IN AAAA 2001:db8::1
  dnspython: www.example.com. 3600 A 192.0.2.1, www.example.com. 300 AAAA 2001:db8::1
  dnslib: www.example.com. 3600 A 192.0.2.1, www.example.com. 300 AAAA 2001:db8::1
  zonefile-parser: www.example.com. 3600 A 192.0.2.1, example.com. 300 AAAA 2001:db8::1
  zone-file: www.example.com. 3600 A "192.0.2.1", 300.example.com. 3600 AAAA "2001:db8::1"
  dns-zonefile: www.example.com. 3600 A "192.0.2.1", example.com. 300 AAAA "2001:db8::1"
  dnsz: www.example.com. 3600 A 192.0.2.1, www.example.com. 300 AAAA 2001:db8::1
www IN A 192.0.2.1|    AAAA 2001:db8::1
  dnspython: www.example.com. 3600 A 192.0.2.1, www.example.com. 3600 AAAA 2001:db8::1
  dnslib: www.example.com. 3600 A 192.0.2.1, www.example.com. 3600 AAAA 2001:db8::1
  zonefile-parser: www.example.com. 3600 A 192.0.2.1, example.com. 3600 AAAA 2001:db8::1
  zone-file: www.example.com. 3600 A "192.0.2.1", AAAA.example.com. 3600 AAAA "2001:db8::1"
  dns-zonefile: www.example.com. 3600 A "192.0.2.1", example.com. 3600 AAAA "2001:db8::1"
  dnsz: www.example.com. 3600 A 192.0.2.1
www IN A 192.0.2.1|$ORIGIN sub.example.com.|www IN A 192.0.2.2
  dnspython: www.example.com. 3600 A 192.0.2.1, www.sub.example.com. 3600 A 192.0.2.2
  dnslib: www.example.com. 3600 A 192.0.2.1, www.sub.example.com. 3600 A 192.0.2.2
  zonefile-parser: www.example.com. 3600 A 192.0.2.1, www.sub.example.com. 3600 A 192.0.2.2
  zone-file: www.sub.example.com. 3600 A "192.0.2.1", www.sub.example.com. 3600 A "192.0.2.2"
  dns-zonefile: www.sub.example.com. 3600 A "192.0.2.1", www.sub.example.com. 3600 A "192.0.2.2"
  dnsz: www.example.com. 3600 A 192.0.2.1, www.sub.example.com. 3600 A 192.0.2.2
one IN A 192.0.2.1|$TTL 60|two IN A 192.0.2.2
  dnspython: one.example.com. 3600 A 192.0.2.1, two.example.com. 60 A 192.0.2.2
  dnslib: one.example.com. 3600 A 192.0.2.1, two.example.com. 60 A 192.0.2.2
  zonefile-parser: one.example.com. 3600 A 192.0.2.1, two.example.com. 3600 A 192.0.2.2
  zone-file: one.example.com. 60 A "192.0.2.1", two.example.com. 60 A "192.0.2.2"
  dns-zonefile: one.example.com. 60 A "192.0.2.1", two.example.com. 60 A "192.0.2.2"
  dnsz: one.example.com. 3600 A 192.0.2.1, two.example.com. 60 A 192.0.2.2
www IN 60 A 192.0.2.1
  dnspython: www.example.com. 60 A 192.0.2.1
  dnslib: an error
  zonefile-parser: www.example.com. 3600 60 A
  zone-file: www.example.com. 3600 A "192.0.2.1"
  dns-zonefile: no record
  dnsz: www.example.com. 3600 IN 60 A 192.0.2.1
4 IN PTR host.example.net.
  dnspython: 4.example.com. 3600 PTR host.example.net.
  dnslib: 4.example.com. 3600 PTR host.example.net.
  zonefile-parser: 4.example.com. 3600 PTR host.example.net.
  zone-file: 4.example.com. 3600 PTR "host.example.net."
  dns-zonefile: 4.example.com. 3600 PTR "host.example.net."
  dnsz: example.com. 4 PTR host.example.net.
text IN TXT "one"
  dnspython: text.example.com. 3600 TXT "one"
  dnslib: text.example.com. 3600 TXT "one"
  zonefile-parser: text.example.com. 3600 TXT one
  zone-file: text.example.com. 3600 TXT "one"
  dns-zonefile: text.example.com. 3600 TXT "\"one\""
  dnsz: text.example.com. 3600 TXT "one"
text IN TXT "v=DKIM1; k=rsa; p=AAAA"
  dnspython: text.example.com. 3600 TXT "v=DKIM1; k=rsa; p=AAAA"
  dnslib: text.example.com. 3600 TXT "v=DKIM1; k=rsa; p=AAAA"
  zonefile-parser: text.example.com. 3600 TXT v=DKIM1; k=rsa; p=AAAA
  zone-file: text.example.com. 3600 TXT "v=DKIM1"
  dns-zonefile: text.example.com. 3600 TXT "\"v=DKIM1; k=rsa; p=AAAA\""
  dnsz: text.example.com. 3600 TXT "v=DKIM1; k=rsa; p=AAAA"
text IN TXT "a (b) c"
  dnspython: text.example.com. 3600 TXT "a (b) c"
  dnslib: text.example.com. 3600 TXT "a (b) c"
  zonefile-parser: text.example.com. 3600 TXT a ()c
  zone-file: text.example.com. 3600 TXT "a  b  c"
  dns-zonefile: no record
  dnsz: text.example.com. 3600 TXT "a (b) c"
text IN TXT "one" "two"
  dnspython: text.example.com. 3600 TXT "one" "two"
  dnslib: text.example.com. 3600 TXT "one","two"
  zonefile-parser: text.example.com. 3600 TXT one
  zone-file: text.example.com. 3600 TXT ["one","two"]
  dns-zonefile: text.example.com. 3600 TXT "\"one\" \"two\""
  dnsz: text.example.com. 3600 TXT "one" "two"
text IN TXT ( "one"|  "two" )
  dnspython: text.example.com. 3600 TXT "one" "two"
  dnslib: text.example.com. 3600 TXT "one","two"
  zonefile-parser: text.example.com. 3600 TXT onetwo
  zone-file: text.example.com. 3600 TXT ["one","two"]
  dns-zonefile: no record
  dnsz: text.example.com. 3600 TXT "one" "two"
text IN TXT "say \"hi\" once"
  dnspython: text.example.com. 3600 TXT "say \"hi\" once"
  dnslib: text.example.com. 3600 TXT "say "hi" once"
  zonefile-parser: text.example.com. 3600 TXT say "hi" once
  zone-file: text.example.com. 3600 TXT ["say \\","hi\\"," once"]
  dns-zonefile: text.example.com. 3600 TXT "\"say \\\"hi\\\" once\""
  dnsz: text.example.com. 3600 TXT "say \"hi\" once"
a\.b IN A 192.0.2.1
  dnspython: a\.b.example.com. 3600 A 192.0.2.1
  dnslib: a\.b.example.com. 3600 A 192.0.2.1
  zonefile-parser: a.b.example.com. 3600 A 192.0.2.1
  zone-file: a\.b.example.com. 3600 A "192.0.2.1"
  dns-zonefile: a\.b.example.com. 3600 A "192.0.2.1"
  dnsz: a\.b.example.com. 3600 A 192.0.2.1
www in a 192.0.2.1
  dnspython: www.example.com. 3600 A 192.0.2.1
  dnslib: an error
  zonefile-parser: www.example.com. 3600 A 192.0.2.1
  zone-file: www.example.com. 3600 A "192.0.2.1"
  dns-zonefile: no record
  dnsz: www.example.com. 3600 A 192.0.2.1
www IN MX 10 www
  dnspython: www.example.com. 3600 MX 10 www.example.com.
  dnslib: www.example.com. 3600 MX 10 www.example.com.
  zonefile-parser: www.example.com. 3600 MX 10 www
  zone-file: www.example.com. 3600 MX 10 "www"
  dns-zonefile: www.example.com. 3600 MX 10 "www"
  dnsz: www.example.com. 3600 MX 10 www
www IN SRV 1 2 3 www
  dnspython: www.example.com. 3600 SRV 1 2 3 www.example.com.
  dnslib: www.example.com. 3600 SRV 1 2 3 www.
  zonefile-parser: www.example.com. 3600 SRV 1 2 3 www
  zone-file: www.example.com. 3600 SRV "www" 1 2 3
  dns-zonefile: www.example.com. 3600 SRV "www" 1 2 3
  dnsz: www.example.com. 3600 SRV 1 2 3 www
SEEN

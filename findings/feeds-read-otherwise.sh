#!/usr/bin/env bash
# Nine readers of RSS and Atom give entries of valid feeds other links, titles, times and texts, and a writer loses enclosures; no error.
#
# Guess: Atom (RFC 4287, 4.1.2) gives the order of an entry's elements no meaning; (4.2.7.2) a link without rel is the alternate, the page of
# the entry, and one with rel="self" or "replies" is not; (4.2.11) source tells of another feed; (3.1.1) a title is a text, unescaped once,
# and XHTML content is the markup within its div; (3.3) times have an offset and may have a fraction. RSS 2.0 has no order within an item,
# either, and elements of other namespaces are not its own: media:title is not the title. So all readers find the same in an entry.
#
# Seen 2026-11-30 in New York's zone; feedsmith 3.0.1 of npm and, in whole seconds, feedparser 6.0.14 of PyPI read all of it right:
#
#   a link rel="self" before the link       rss-parser 3.13.0, @extractus/feed-extractor 8.0.3, htmlparser2 12.0.0 (parseFeed), fastfeedparser
#                                           0.6.5 and podcastparser 0.6.11 of PyPI: the link is the address of the entry's feed
#   rel="replies" before rel="alternate"    @extractus/feed-extractor, htmlparser2: the link is that of the replies
#   a source before the link                htmlparser2: the link is that of the other feed
#   media:title or itunes:title before      @rowanmanning/feed-parser 2.1.5, fastfeedparser: the title is that one
#   the title
#   the titles 007, 1e3 and 0               @extractus/feed-extractor: 7, 1000 and none
#   the title "say &lt; for <", escaped     @rowanmanning/feed-parser: "say < for <"; @extractus/feed-extractor also, which normalizes texts
#   XHTML, Do <b>not</b> eat it             rss-parser: Do  eat it<b>not</b>; feedme 2.0.2 does not tell where "not" was, either;
#                                           @extractus/feed-extractor, atoma 0.0.17 of PyPI: no content
#   XHTML, <p>a&lt;b</p>                    @rowanmanning/feed-parser, feedparser 2.6.0 of npm: <p>a<b</p>, so "b" becomes a tag
#   18:30:02.25+01:00 (RFC 4287's example)  podcastparser: 18:30:02 in the zone of the machine
#   an entry's sound, as enclosure          feedgen 1.0.0 of PyPI writes a link without rel, type and length, so a second page of the entry
#
# So a feed for strangers has an entry's title and its link with rel="alternate" first, its content as escaped HTML, and whole seconds.
#
# Needs node with npm, python3 with venv, two minutes, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . rss-parser@3.13.0 @extractus/feed-extractor@8.0.3 \
    @rowanmanning/feed-parser@2.1.5 htmlparser2@12.0.0 feedparser@2.6.0 feedme@2.0.2 feedsmith@3.0.1 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check feedparser==6.0.14 fastfeedparser==0.6.5 podcastparser==0.6.11 atoma==0.0.17 \
    feedgen==1.0.0 feedgenerator==2.2.1
cat > cases <<'CASES'
link atom <title>T</title><link href="http://example.org/1"/>
link atom <title>T</title><link rel="self" href="http://example.org/1.atom"/><link href="http://example.org/1"/>
link atom <title>T</title><link rel="replies" href="http://example.org/1/replies"/><link rel="alternate" href="http://example.org/1"/>
link atom <source><id>urn:other</id><link href="http://example.com/"/></source><title>T</title><link href="http://example.org/1"/>
title rss <title>T</title><link>http://example.org/1</link>
title rss <media:title>M</media:title><title>T</title><link>http://example.org/1</link>
title rss <itunes:title>M</itunes:title><title>T</title><link>http://example.org/1</link>
title rss <title>7</title><link>http://example.org/1</link>
title rss <title>007</title><link>http://example.org/1</link>
title rss <title>1e3</title><link>http://example.org/1</link>
title rss <title>0</title><link>http://example.org/1</link>
title atom <title>1 &lt; 2</title><link href="http://example.org/1"/>
title atom <title>say &amp;lt; for &lt;</title><link href="http://example.org/1"/>
content atom <title>T</title><content type="html">&lt;p&gt;Do &lt;b&gt;not&lt;/b&gt; eat it&lt;/p&gt;</content>
content atom <title>T</title><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Do <b>not</b> eat it</p></div></content>
content atom <title>T</title><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>a&lt;b</p></div></content>
time atom <title>T</title><link href="http://example.org/1"/><published>2003-12-13T18:30:02+01:00</published>
time atom <title>T</title><link href="http://example.org/1"/><published>2003-12-13T18:30:02.25+01:00</published>
CASES
cat > feeds.py <<'PY'
import json
PREFIXES = {"media": "http://search.yahoo.com/mrss/", "itunes": "http://www.itunes.com/dtds/podcast-1.0.dtd"}
feeds = []
for line in open("cases"):
    field, form, inner = line.rstrip("\n").split(" ", 2)
    prefixes = "".join(f' xmlns:{name}="{uri}"' for name, uri in PREFIXES.items())
    if form == "rss":
        text = (f'<rss version="2.0"{prefixes}><channel><title>Feed</title><link>http://example.org/</link><description>All</description>'
                f'<item>{inner}<guid isPermaLink="false">urn:1</guid></item></channel></rss>')
    else:
        text = ('<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:feed</id><title>Feed</title><author><name>A</name></author>'
                f'<updated>2026-11-30T10:00:00Z</updated><entry><id>urn:1</id><updated>2026-11-30T10:00:00Z</updated>{inner}</entry></feed>')
    feeds.append([field, f"{field} of {inner}", '<?xml version="1.0" encoding="utf-8"?>\n' + text])
json.dump(feeds, open("feeds.json", "w"))
PY
cat > read.mjs <<'JS'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { extractFromXml } from '@extractus/feed-extractor'
import { parseFeed as rowanmanning } from '@rowanmanning/feed-parser'
import FeedMe from 'feedme'
import FeedParser from 'feedparser'
import { parseFeed as feedsmith } from 'feedsmith'
import { parseFeed as htmlparser2 } from 'htmlparser2'
import RssParser from 'rss-parser'
const readers = {
  feedsmith: text => {
    const { feed } = feedsmith(text)
    const item = (feed.items ?? feed.entries)[0]
    const link = item.link ?? item.links?.find(link => (link.rel ?? 'alternate') === 'alternate').href
    return { title: item.title.value ?? item.title, link, content: item.content?.value, time: item.published }
  },
  'rss-parser': async text => {
    const item = (await new RssParser().parseString(text)).items[0]
    return { title: item.title, link: item.link, content: item.content, time: item.isoDate }
  },
  '@extractus/feed-extractor': text => {
    const item = extractFromXml(text, { descriptionMaxLen: 0 }).entries[0]
    return { title: item.title, link: item.link, content: item.description }
  },
  '@rowanmanning/feed-parser': text => {
    const item = rowanmanning(text).items[0]
    return { title: item.title, link: item.url, content: item.content, time: item.published }
  },
  htmlparser2: text => {
    const item = htmlparser2(text).items[0]
    return { title: item.title, link: item.link, content: item.description }
  },
  'feedparser (npm)': async text => {
    const parser = Readable.from([text]).pipe(new FeedParser())
    const items = []
    parser.on('data', item => items.push(item))
    await once(parser, 'end')
    return { title: items[0].title, link: items[0].link, content: items[0].description, time: items[0].pubdate }
  },
  feedme: text => {
    const parser = new FeedMe(true)
    parser.write(text)
    const item = parser.done().items[0]
    const content = item.content?.text ?? (typeof item.content === 'object' ? JSON.stringify(item.content) : item.content)
    return { title: item.title, content, time: item.published }
  }
}
for (const [field, name, text] of JSON.parse(readFileSync('feeds.json'))) {
  for (const [reader, read] of Object.entries(readers)) {
    const value = (await read(text))[field]
    if (value === undefined) continue
    console.log(`${name} | ${reader}: ${field === 'time' ? new Date(value).toISOString() : value || 'none'}`)
  }
}
process.exit()
JS
cat > read.py <<'PY'
import datetime, io, json
import atoma, fastfeedparser, feedparser, podcastparser
UTC = datetime.timezone.utc

def universal(text):
    entry = feedparser.parse(text.encode()).entries[0]
    time = entry.get("published_parsed")
    return dict(title=entry.get("title"), link=entry.get("link"), content=entry.content[0].value if "content" in entry else None,
                time=time and datetime.datetime(*time[:6], tzinfo=UTC))

def fast(text):
    entry = fastfeedparser.parse(text).entries[0]
    time = entry.get("published")
    return dict(title=entry.get("title"), link=entry.get("link"), content=entry["content"][0]["value"] if "content" in entry else None,
                time=time and datetime.datetime.fromisoformat(time.replace("Z", "+00:00")))

def podcast(text):
    episode = podcastparser.parse("http://example.org/", io.BytesIO(text.encode()))["episodes"][0]
    return dict(title=episode["title"], link=episode["link"], content=episode.get("description_html") or episode["description"],
                time=datetime.datetime.fromtimestamp(episode["published"], UTC))

def atom(text):
    if "<rss" in text:
        item = atoma.parse_rss_bytes(text.encode()).items[0]
        return dict(title=item.title, link=item.link)
    entry = atoma.parse_atom_bytes(text.encode()).entries[0]
    link = next((link.href for link in entry.links if link.rel in (None, "alternate")), None)
    return dict(title=entry.title.value, link=link, content=entry.content and entry.content.value, time=entry.published)

for field, name, text in json.load(open("feeds.json")):
    for reader, read in [("feedparser (PyPI)", universal), ("fastfeedparser", fast), ("podcastparser", podcast), ("atoma", atom)]:
        value = read(text)[field]
        if field == "time":
            value = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        print(f"{name} | {reader}: {value or 'none'}")
PY
cat > write.py <<'PY'
import datetime
import feedgen.feed, feedgenerator, feedparser
sound = dict(length="1000", type="audio/mpeg")
feed = feedgen.feed.FeedGenerator()
feed.id("urn:feed")
feed.title("Feed")
feed.author(name="A")
entry = feed.add_entry()
entry.id("urn:1")
entry.title("T")
entry.link(href="http://example.org/1", rel="alternate")
entry.link(href="http://example.org/1.mp3", rel="enclosure", **sound)
other = feedgenerator.Atom1Feed("Feed", "http://example.org/", "All")
other.add_item("T", "http://example.org/1", "Text", unique_id="urn:1",
               pubdate=datetime.datetime(2026, 11, 30, 10, tzinfo=datetime.timezone.utc),
               enclosures=[feedgenerator.Enclosure("http://example.org/1.mp3", sound["length"], sound["type"])])
for name, text in [("feedgenerator", other.writeString("utf-8")), ("feedgen", feed.atom_str())]:
    links = feedparser.parse(text).entries[0].links
    print(f"{name} writes:", ", ".join(f"{link.href} as {link.rel}, {link.type}, {link.get('length', 'no')} bytes" for link in links))
PY
export TZ=America/New_York
python3 feeds.py
node read.mjs > one
venv/bin/python read.py > two
venv/bin/python write.py > three
{ python3 - <<'PY'; cat three; } | tee seen
import json
read = [line.rstrip("\n").rsplit(" | ", 1) for name in ("one", "two") for line in open(name)]
for _, name, _ in json.load(open("feeds.json")):
    values = {}
    for case, text in read:
        if case == name:
            reader, value = text.split(": ", 1)
            values.setdefault(value, []).append(reader)
    print(name)
    for value, readers in values.items():
        print(f"  {value}: {', '.join(readers)}")
PY
diff seen - <<'SEEN' && echo "as it was"
link of <title>T</title><link href="http://example.org/1"/>
  http://example.org/1: feedsmith, rss-parser, @extractus/feed-extractor, @rowanmanning/feed-parser, htmlparser2, feedparser (npm), feedparser (PyPI), fastfeedparser, podcastparser, atoma
link of <title>T</title><link rel="self" href="http://example.org/1.atom"/><link href="http://example.org/1"/>
  http://example.org/1: feedsmith, @rowanmanning/feed-parser, feedparser (npm), feedparser (PyPI), atoma
  http://example.org/1.atom: rss-parser, @extractus/feed-extractor, htmlparser2, fastfeedparser, podcastparser
link of <title>T</title><link rel="replies" href="http://example.org/1/replies"/><link rel="alternate" href="http://example.org/1"/>
  http://example.org/1: feedsmith, rss-parser, @rowanmanning/feed-parser, feedparser (npm), feedparser (PyPI), fastfeedparser, podcastparser, atoma
  http://example.org/1/replies: @extractus/feed-extractor, htmlparser2
link of <source><id>urn:other</id><link href="http://example.com/"/></source><title>T</title><link href="http://example.org/1"/>
  http://example.org/1: feedsmith, rss-parser, @extractus/feed-extractor, @rowanmanning/feed-parser, feedparser (npm), feedparser (PyPI), fastfeedparser, podcastparser, atoma
  http://example.com/: htmlparser2
title of <title>T</title><link>http://example.org/1</link>
  T: feedsmith, rss-parser, @extractus/feed-extractor, @rowanmanning/feed-parser, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
title of <media:title>M</media:title><title>T</title><link>http://example.org/1</link>
  T: feedsmith, rss-parser, @extractus/feed-extractor, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), podcastparser, atoma
  M: @rowanmanning/feed-parser, fastfeedparser
title of <itunes:title>M</itunes:title><title>T</title><link>http://example.org/1</link>
  T: feedsmith, rss-parser, @extractus/feed-extractor, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), podcastparser, atoma
  M: @rowanmanning/feed-parser, fastfeedparser
title of <title>7</title><link>http://example.org/1</link>
  7: feedsmith, rss-parser, @extractus/feed-extractor, @rowanmanning/feed-parser, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
title of <title>007</title><link>http://example.org/1</link>
  007: feedsmith, rss-parser, @rowanmanning/feed-parser, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
  7: @extractus/feed-extractor
title of <title>1e3</title><link>http://example.org/1</link>
  1e3: feedsmith, rss-parser, @rowanmanning/feed-parser, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
  1000: @extractus/feed-extractor
title of <title>0</title><link>http://example.org/1</link>
  0: feedsmith, rss-parser, @rowanmanning/feed-parser, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
  none: @extractus/feed-extractor
title of <title>1 &lt; 2</title><link href="http://example.org/1"/>
  1 < 2: feedsmith, rss-parser, @extractus/feed-extractor, @rowanmanning/feed-parser, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
title of <title>say &amp;lt; for &lt;</title><link href="http://example.org/1"/>
  say &lt; for <: feedsmith, rss-parser, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
  say < for <: @extractus/feed-extractor, @rowanmanning/feed-parser
content of <title>T</title><content type="html">&lt;p&gt;Do &lt;b&gt;not&lt;/b&gt; eat it&lt;/p&gt;</content>
  <p>Do <b>not</b> eat it</p>: feedsmith, rss-parser, @rowanmanning/feed-parser, htmlparser2, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
  Do not eat it: @extractus/feed-extractor
content of <title>T</title><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Do <b>not</b> eat it</p></div></content>
  <p>Do <b>not</b> eat it</p>: feedsmith, @rowanmanning/feed-parser, feedparser (PyPI)
  <div type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Do  eat it<b>not</b></p></div></div>: rss-parser
  none: @extractus/feed-extractor, podcastparser, atoma
  Do not eat it: htmlparser2
  <div xmlns="http://www.w3.org/1999/xhtml"><p>Do <b>not</b> eat it</p></div>: feedparser (npm)
  {"type":"xhtml","div":{"xmlns":"http://www.w3.org/1999/xhtml","p":{"text":"Do  eat it","b":"not"}}}: feedme
  <content xmlns="http://www.w3.org/2005/Atom" type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Do <b>not</b> eat it</p></div></content>: fastfeedparser
content of <title>T</title><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>a&lt;b</p></div></content>
  <p>a&lt;b</p>: feedsmith, feedparser (PyPI)
  <div type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>a&lt;b</p></div></div>: rss-parser
  none: @extractus/feed-extractor, podcastparser, atoma
  <p>a<b</p>: @rowanmanning/feed-parser
  a<b: htmlparser2
  <div xmlns="http://www.w3.org/1999/xhtml"><p>a<b</p></div>: feedparser (npm)
  {"type":"xhtml","div":{"xmlns":"http://www.w3.org/1999/xhtml","p":"a<b"}}: feedme
  <content xmlns="http://www.w3.org/2005/Atom" type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>a&lt;b</p></div></content>: fastfeedparser
time of <title>T</title><link href="http://example.org/1"/><published>2003-12-13T18:30:02+01:00</published>
  2003-12-13T17:30:02.000Z: feedsmith, rss-parser, @rowanmanning/feed-parser, feedparser (npm), feedme, feedparser (PyPI), fastfeedparser, podcastparser, atoma
time of <title>T</title><link href="http://example.org/1"/><published>2003-12-13T18:30:02.25+01:00</published>
  2003-12-13T17:30:02.250Z: feedsmith, rss-parser, @rowanmanning/feed-parser, feedparser (npm), feedme, fastfeedparser, atoma
  2003-12-13T17:30:02.000Z: feedparser (PyPI)
  2003-12-13T23:30:02.000Z: podcastparser
feedgenerator writes: http://example.org/1 as alternate, text/html, no bytes, http://example.org/1.mp3 as enclosure, audio/mpeg, 1000 bytes
feedgen writes: http://example.org/1 as alternate, text/html, no bytes, http://example.org/1.mp3 as alternate, text/html, no bytes
SEEN

#!/usr/bin/env bash
# Seven calendar libraries give the repeated events of valid iCalendar files other days, hours and lengths, or leave them out.
#
# Guess: RFC 5545 says which days an RRULE means (3.3.10), with examples and their dates (3.8.5.3): BYWEEKNO and BYDAY=20MO pick weeks and
# days of the year, BYSETPOS picks among what the other parts leave, -1 is the last day of the month, BYDAY limits BYYEARDAY, and a date that
# does not exist (30 February) is left out. UNTIL of a local time is in UTC. RDATE adds starts to those of DTSTART and RRULE (3.8.5.2), EXDATE
# takes away the one at just that time (3.8.5.1), in local time or in UTC. RECURRENCE-ID moves one, and with RANGE=THISANDFUTURE the later
# ones with it (3.8.4.4, 3.2.13). P1D is a day of the calendar, PT24H are 24 hours (3.3.6). A TZID is the zone of that name in the file
# (3.2.19); a time that comes twice is the first of both, one that is left out counts by the offset before it (3.3.5, with examples). So all
# readers find the same.
#
# Seen 2026-11-30 with rrule 2.8.1, ical.js 2.2.1, node-ical 0.27.2 (which uses rrule-temporal 2.2.8) and ts-ics 2.4.6 of npm, icalevents
# 0.3.1, ical 14.3.1 and recurring-ical-events 3.8.2 (with icalendar 7.3.0) of PyPI, and no error; of each case, one or more get it right:
#
#   the 20th Monday of the year (RFC)         ical.js: this and each Monday after it; ts-ics: not the first one, and at midnight
#   Monday of week 20 (RFC)                   ical.js: each Monday, only not this one; ts-ics: of week 19 in 1999
#   BYSETPOS and 1SU,-1SU (RFC)               ts-ics: other days, not the first one, and at midnight; ical.js ignores BYSETPOS with FREQ=WEEKLY
#   the third day before the month end (RFC)  ts-ics: the fourth one
#   each 29 February, each 31st               ical.js: 1 March in other years; ts-ics: 28 February, and then the 28th of each month
#   the last day of February and April        ical.js: 2 March; ts-ics: 30 January, 30 March
#   Sunday of week 53, which is in January    ical.js: each Sunday, only not this one; ts-ics: of other weeks; node-ical: not the first one
#   day 244 or 245 if it is a Wednesday       node-ical: both, whatever day of the week it is
#   UNTIL in UTC, start in Berlin             rrule: the last one is missing
#   EXDATE and RDATE in UTC, start in Berlin  rrule: nothing is taken away, and the added one is two hours early
#   RDATE                                     node-ical: left out; ical.js and ical without an RRULE: DTSTART is left out
#   EXDATE of one of three in a day           icalevents: none of the three is left
#   one moved, by RECURRENCE-ID in UTC        ical: at its old time, too
#   this and all later ones moved             node-ical, icalevents: only this one; ical: only this one, and at its old time, too
#   P1D over the change of clocks             node-ical, ts-ics, icalevents: 24 hours
#   PT24H over the change of clocks           ical.js, ical, recurring-ical-events: 23 hours
#   a time that comes twice (RFC)             ical.js, node-ical, ts-ics, icalevents: the second
#   a time that is left out (RFC)             ical.js: an hour too early
#   a zone that only the file defines         node-ical: the machine's own zone
#
# So a calendar for strangers lists each date as an event of its own, with start and end in UTC.
#
# Needs node 20 with npm, python3 (3.11 or newer) with venv, a minute, and network for the package registries. Exits 1 when anything of this changes.
set -euo pipefail
export TZ=UTC
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . rrule@2.8.1 ical.js@2.2.1 node-ical@0.27.2 rrule-temporal@2.2.8 \
    ts-ics@2.4.6 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check icalevents==0.3.1 ical==14.3.1 recurring-ical-events==3.8.2 icalendar==7.3.0 \
    python-dateutil==2.9.0.post0
# three lines each: what it is; the first starts, or start/end, in UTC; the lines of the event, with + before those of another one
cat > cases <<'CASES'
control: each second Tuesday
20270105T090000 20270119T090000 20270202T090000
DTSTART:20270105T090000Z RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=3
the first and last Sunday of every other month
19970907T130000 19970928T130000 19971102T140000 19971130T140000
DTSTART;TZID=America/New_York:19970907T090000 RRULE:FREQ=MONTHLY;INTERVAL=2;COUNT=4;BYDAY=1SU,-1SU
the 20th Monday of each year
19970519T130000 19980518T130000 19990517T130000
DTSTART;TZID=America/New_York:19970519T090000 RRULE:FREQ=YEARLY;BYDAY=20MO
Monday of week 20
19970512T130000 19980511T130000 19990517T130000
DTSTART;TZID=America/New_York:19970512T090000 RRULE:FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO
each 29 February
20240229T090000 20280229T090000 20320229T090000
DTSTART:20240229T090000Z RRULE:FREQ=YEARLY;COUNT=3
the last day of February and April
20260228T090000 20260430T090000 20270228T090000 20270430T090000
DTSTART:20260228T090000Z RRULE:FREQ=YEARLY;BYMONTH=2,4;BYMONTHDAY=-1;COUNT=4
the third of Tuesday to Thursday in a month
19970904T130000 19971007T130000 19971106T140000
DTSTART;TZID=America/New_York:19970904T090000 RRULE:FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3
the last weekday but one of the month
19970929T130000 19971030T140000 19971127T140000 19971230T140000
DTSTART;TZID=America/New_York:19970929T090000 RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2
the last of Tuesday and Thursday in each week
20270107T090000 20270114T090000 20270121T090000
DTSTART:20270107T090000Z RRULE:FREQ=WEEKLY;BYDAY=TU,TH;BYSETPOS=-1;COUNT=3
the third day before the month's end
19970928T130000 19971029T140000 19971128T140000 19971229T140000
DTSTART;TZID=America/New_York:19970928T090000 RRULE:FREQ=MONTHLY;BYMONTHDAY=-3
each 31st
20270131T090000 20270331T090000 20270531T090000 20270731T090000
DTSTART:20270131T090000Z RRULE:FREQ=MONTHLY;COUNT=4
the Sunday of week 53
20270103T090000 20330102T090000 20380103T090000
DTSTART:20270103T090000Z RRULE:FREQ=YEARLY;BYWEEKNO=53;BYDAY=SU;COUNT=3
day 244 or 245 of the year if it is a Wednesday
20270901T090000 20320901T090000 20370902T090000
DTSTART:20270901T090000Z RRULE:FREQ=YEARLY;BYYEARDAY=244,245;BYDAY=WE;COUNT=3
UNTIL in UTC
20270326T223000 20270327T223000 20270328T213000 20270329T213000
DTSTART;TZID=Europe/Berlin:20270326T233000 RRULE:FREQ=DAILY;UNTIL=20270329T213000Z
EXDATE and RDATE in local time
20270326T223000 20270328T213000 20270410T213000
DTSTART;TZID=Europe/Berlin:20270326T233000 RRULE:FREQ=DAILY;COUNT=3 EXDATE;TZID=Europe/Berlin:20270327T233000 RDATE;TZID=Europe/Berlin:20270410T233000
EXDATE and RDATE in UTC
20270326T223000 20270328T213000 20270410T213000
DTSTART;TZID=Europe/Berlin:20270326T233000 RRULE:FREQ=DAILY;COUNT=3 EXDATE:20270327T223000Z RDATE:20270410T213000Z
RDATE
20270104T090000 20270105T090000 20270110T090000
DTSTART:20270104T090000Z RRULE:FREQ=DAILY;COUNT=2 RDATE:20270110T090000Z
RDATE without RRULE
20270104T090000 20270110T090000 20270112T090000
DTSTART:20270104T090000Z RDATE:20270110T090000Z,20270112T090000Z
EXDATE of one of three in a day
20270104T090000 20270104T170000
DTSTART:20270104T090000Z RRULE:FREQ=HOURLY;INTERVAL=4;COUNT=3 EXDATE:20270104T130000Z
control: one moved, by RECURRENCE-ID in local time
20270104T080000 20270105T130000 20270106T080000
DTSTART;TZID=Europe/Berlin:20270104T090000 RRULE:FREQ=DAILY;COUNT=3 + RECURRENCE-ID;TZID=Europe/Berlin:20270105T090000 DTSTART:20270105T130000Z
one moved, by RECURRENCE-ID in UTC
20270104T090000 20270105T140000 20270106T090000
DTSTART:20270104T090000Z RRULE:FREQ=DAILY;COUNT=3 + RECURRENCE-ID:20270105T090000Z DTSTART:20270105T140000Z
this and all later ones moved
20270104T090000 20270105T100000 20270106T100000
DTSTART:20270104T090000Z RRULE:FREQ=DAILY;COUNT=3 + RECURRENCE-ID;RANGE=THISANDFUTURE:20270105T090000Z DTSTART:20270105T100000Z
P1D over the change of clocks
20270327T110000/20270328T100000
DTSTART;TZID=Europe/Berlin:20270327T120000 DURATION:P1D
PT24H over the change of clocks
20270327T110000/20270328T110000
DTSTART;TZID=Europe/Berlin:20270327T120000 DURATION:PT24H
a time that comes twice
20071104T053000
DTSTART;TZID=America/New_York:20071104T013000 DURATION:PT1H
a time that is left out
20070311T073000
DTSTART;TZID=America/New_York:20070311T023000 DURATION:PT1H
a zone that only the file defines
20270704T060000/20270704T070000
DTSTART;TZID=Office:20270704T090000 DURATION:PT1H
CASES
cat > zones <<'ZONES'
America/New_York DAYLIGHT 19870405T020000 -0500 -0400 FREQ=YEARLY;BYMONTH=4;BYDAY=1SU;UNTIL=20060402T070000Z
America/New_York STANDARD 19671029T020000 -0400 -0500 FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU;UNTIL=20061029T060000Z
America/New_York DAYLIGHT 20070311T020000 -0500 -0400 FREQ=YEARLY;BYMONTH=3;BYDAY=2SU
America/New_York STANDARD 20071104T020000 -0400 -0500 FREQ=YEARLY;BYMONTH=11;BYDAY=1SU
Europe/Berlin DAYLIGHT 19960331T020000 +0100 +0200 FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
Europe/Berlin STANDARD 19961027T030000 +0200 +0100 FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
Office DAYLIGHT 19960331T030000 +0200 +0300 FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
Office STANDARD 19961027T040000 +0300 +0200 FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
ZONES
mkdir files
number=0
while read -r name && read -r dates && read -r lines; do
  number=$((number + 1))
  {
    printf '%s\n' BEGIN:VCALENDAR VERSION:2.0 PRODID:-//example//repeats//EN
    for zone in America/New_York Europe/Berlin Office; do
      case $lines in *"TZID=$zone:"*) ;; *) continue ;; esac
      printf '%s\n' BEGIN:VTIMEZONE "TZID:$zone"
      while read -r id kind start from to rule; do
        [ "$id" = "$zone" ] || continue
        printf '%s\n' "BEGIN:$kind" "DTSTART:$start" "TZOFFSETFROM:$from" "TZOFFSETTO:$to" "RRULE:$rule" "END:$kind"
      done < zones
      printf '%s\n' END:VTIMEZONE
    done
    for event in "${lines%% + *}" "${lines#* + }"; do
      printf '%s\n' BEGIN:VEVENT UID:event@example.org DTSTAMP:20261130T000000Z SUMMARY:text
      printf '%s\n' $event
      case $lines in *DURATION*) ;; *) echo DURATION:PT1H ;; esac
      printf '%s\n' END:VEVENT
      case $lines in *' + '*) ;; *) break ;; esac
    done
    printf '%s\n' END:VCALENDAR
  } | sed 's/$/\r/' > "files/$(printf '%02d' $number)"
done < cases
cat > read.mjs <<'JS'
import { readFileSync } from 'node:fs'
import ICAL from 'ical.js'
import nodeIcal from 'node-ical'
import rrule from 'rrule'
import * as tsIcs from 'ts-ics'
const from = new Date('1997-01-01'), to = new Date('2045-01-01')
const readers = {
  rrule (text) { // of the event's own lines
    const lines = text.split('BEGIN:VEVENT')[1].split('\r\n').filter(line => /^(DTSTART|RRULE|EXDATE|RDATE)/.test(line))
    return rrule.rrulestr(lines.join('\n'), { forceset: true }).all((_, at) => at < 4).map(start => [start])
  },
  'ical.js' (text) {
    const calendar = new ICAL.Component(ICAL.parse(text))
    for (const zone of calendar.getAllSubcomponents('vtimezone')) ICAL.TimezoneService.register(zone)
    const [first, ...others] = calendar.getAllSubcomponents('vevent')
    const event = new ICAL.Event(first, { exceptions: others })
    if (!event.isRecurring()) return [[event.startDate.toJSDate(), event.endDate.toJSDate()]]
    const found = [], starts = event.iterator()
    for (let start; found.length < 4 && (start = starts.next());) {
      const { startDate, endDate } = event.getOccurrenceDetails(start)
      found.push([startDate.toJSDate(), endDate.toJSDate()])
    }
    return found
  },
  'node-ical' (text) {
    return Object.values(nodeIcal.sync.parseICS(text)).filter(event => event.type === 'VEVENT')
      .flatMap(event => nodeIcal.expandRecurringEvent(event, { from, to })).map(({ start, end }) => [start, end])
  },
  'ts-ics' (text) {
    const [event] = tsIcs.convertIcsCalendar(undefined, text).events
    const start = event.start.date, length = tsIcs.getEventEnd(event) - start
    const exceptions = (event.exceptionDates ?? []).map(({ date }) => date)
    const starts = event.recurrenceRule ? tsIcs.extendByRecurrenceRule(event.recurrenceRule, { start, end: to, exceptions }) : [start]
    return starts.map(each => [each, new Date(+each + length)])
  }
}
const leave = { // to the caller; ts-ics takes a rule and exceptions for it, but no zone and no RDATE
  rrule: lines => !lines.includes('RRULE') || lines.includes('+'),
  'ts-ics': lines => /RDATE|\+|Berlin.*RRULE/.test(lines)
}
const cases = readFileSync('cases', 'utf8').trim().split('\n')
for (let number = 0; number * 3 < cases.length;) {
  const [name, dates, lines] = cases.slice(number * 3)
  const text = readFileSync(`files/${String(++number).padStart(2, '0')}`, 'utf8')
  for (const [reader, read] of Object.entries(readers)) {
    if (leave[reader]?.(lines)) continue
    const time = date => date.toISOString().slice(0, 19).replace(/[-:]/g, '')
    const found = read(text).sort(([a], [b]) => a - b).slice(0, dates.split(' ').length + (/COUNT|UNTIL|RDATE/.test(lines) ? 1 : 0))
    const shown = found.map(pair => (dates.includes('/') ? pair : pair.slice(0, 1)).map(time).join('/')).join(' ')
    console.log(`${name}|${reader}|${shown}`)
  }
}
JS
cat > read.py <<'PY'
import datetime
import sys
UTC = datetime.timezone.utc
FROM, TO = datetime.datetime(1997, 1, 1, tzinfo=UTC), datetime.datetime(2045, 1, 1, tzinfo=UTC)

def icalevents(text):
    from icalevents import icalevents # changes the zones of icalendar, so each library has a process of its own
    return icalevents.events(string_content=text.encode(), start=FROM, end=TO)

def ical(text):
    from ical.calendar_stream import IcsCalendarStream
    return [event for event, _ in zip(IcsCalendarStream.calendar_from_ics(text).timeline_tz(UTC), range(5))]

def recurring(text):
    import icalendar
    import recurring_ical_events
    return recurring_ical_events.of(icalendar.Calendar.from_ical(text)).between(FROM, TO)

def time(date):
    return date.astimezone(UTC).strftime("%Y%m%dT%H%M%S")

reader = sys.argv[1]
read = {"icalevents": icalevents, "ical": ical, "recurring-ical-events": recurring}[reader]
cases = open("cases").read().splitlines()
for number in range(len(cases) // 3):
    name, dates, lines = cases[number * 3:number * 3 + 3]
    if reader == "icalevents" and "RDATE" in lines:
        continue # its source says that it does not support it
    with open(f"files/{number + 1:02}", newline="") as file:
        found = sorted((time(event.start), time(event.end)) for event in read(file.read()))
    found = found[:len(dates.split()) + any(word in lines for word in ("COUNT", "UNTIL", "RDATE"))]
    print(f"{name}|{reader}|{' '.join('/'.join(pair if '/' in dates else pair[:1]) for pair in found)}")
PY
node read.mjs > one
for reader in icalevents ical recurring-ical-events; do venv/bin/python read.py $reader; done > two
while read -r name && read -r dates && read -r lines; do
  echo "$name: $dates"
  same=
  while IFS='|' read -r _ reader shown; do
    if [ "$shown" = "$dates" ]; then same="$same, $reader"; else echo "  $reader: ${shown:-nothing}"; fi
  done < <(grep -hF -- "$name|" one two | grep "^$name|")
  echo "  the same: ${same#, }"
done < cases | tee seen
diff seen - <<'SEEN' && echo "as it was"
control: each second Tuesday: 20270105T090000 20270119T090000 20270202T090000
  the same: rrule, ical.js, node-ical, ts-ics, icalevents, ical, recurring-ical-events
the first and last Sunday of every other month: 19970907T130000 19970928T130000 19971102T140000 19971130T140000
  ts-ics: 19970928T000000 19971102T000000 19971130T000000 19980104T000000
  the same: rrule, ical.js, node-ical, icalevents, ical, recurring-ical-events
the 20th Monday of each year: 19970519T130000 19980518T130000 19990517T130000
  ical.js: 19970519T130000 19970526T130000 19970602T130000
  ts-ics: 19980518T000000 19990517T000000 20000515T000000
  the same: rrule, node-ical, icalevents, ical, recurring-ical-events
Monday of week 20: 19970512T130000 19980511T130000 19990517T130000
  ical.js: 19970519T130000 19970526T130000 19970602T130000
  ts-ics: 19970512T130000 19980511T130000 19990510T130000
  the same: rrule, node-ical, icalevents, ical, recurring-ical-events
each 29 February: 20240229T090000 20280229T090000 20320229T090000
  ical.js: 20240229T090000 20250301T090000 20260301T090000
  ts-ics: 20240229T090000 20250228T090000 20260228T090000
  the same: rrule, node-ical, icalevents, ical, recurring-ical-events
the last day of February and April: 20260228T090000 20260430T090000 20270228T090000 20270430T090000
  ical.js: 20260228T090000 20260430T090000 20270302T090000 20270430T090000
  ts-ics: 20260330T090000 20270130T090000 20270330T090000 20280130T090000
  the same: rrule, node-ical, icalevents, ical, recurring-ical-events
the third of Tuesday to Thursday in a month: 19970904T130000 19971007T130000 19971106T140000
  ts-ics: 19970909T000000 19970916T000000 19970923T000000
  the same: rrule, ical.js, node-ical, icalevents, ical, recurring-ical-events
the last weekday but one of the month: 19970929T130000 19971030T140000 19971127T140000 19971230T140000
  ts-ics: 19971029T000000 19971126T000000 19971229T000000 19980128T000000
  the same: rrule, ical.js, node-ical, icalevents, ical, recurring-ical-events
the last of Tuesday and Thursday in each week: 20270107T090000 20270114T090000 20270121T090000
  ical.js: 20270107T090000 20270112T090000 20270114T090000
  ts-ics: 20270112T090000 20270119T090000
  the same: rrule, node-ical, icalevents, ical, recurring-ical-events
the third day before the month's end: 19970928T130000 19971029T140000 19971128T140000 19971229T140000
  ts-ics: 19971028T130000 19971127T130000 19971228T130000 19980128T130000
  the same: rrule, ical.js, node-ical, icalevents, ical, recurring-ical-events
each 31st: 20270131T090000 20270331T090000 20270531T090000 20270731T090000
  ts-ics: 20270131T090000 20270228T090000 20270328T090000 20270428T090000
  the same: rrule, ical.js, node-ical, icalevents, ical, recurring-ical-events
the Sunday of week 53: 20270103T090000 20330102T090000 20380103T090000
  ical.js: 20270110T090000 20270117T090000 20270124T090000
  node-ical: 20330102T090000 20380103T090000 20440103T090000
  ts-ics: 20280102T090000 20281231T090000 20300106T090000
  the same: rrule, icalevents, ical, recurring-ical-events
day 244 or 245 of the year if it is a Wednesday: 20270901T090000 20320901T090000 20370902T090000
  node-ical: 20270901T090000 20270902T090000 20280831T090000
  the same: rrule, ical.js, ts-ics, icalevents, ical, recurring-ical-events
UNTIL in UTC: 20270326T223000 20270327T223000 20270328T213000 20270329T213000
  rrule: 20270326T223000 20270327T223000 20270328T213000
  the same: ical.js, node-ical, icalevents, ical, recurring-ical-events
EXDATE and RDATE in local time: 20270326T223000 20270328T213000 20270410T213000
  node-ical: 20270326T223000 20270328T213000
  the same: rrule, ical.js, ical, recurring-ical-events
EXDATE and RDATE in UTC: 20270326T223000 20270328T213000 20270410T213000
  rrule: 20270326T223000 20270327T223000 20270328T213000 20270410T193000
  node-ical: 20270326T223000 20270328T213000
  the same: ical.js, ical, recurring-ical-events
RDATE: 20270104T090000 20270105T090000 20270110T090000
  node-ical: 20270104T090000 20270105T090000
  the same: rrule, ical.js, ical, recurring-ical-events
RDATE without RRULE: 20270104T090000 20270110T090000 20270112T090000
  ical.js: 20270110T090000 20270112T090000
  node-ical: 20270104T090000
  ical: 20270110T090000 20270112T090000
  the same: recurring-ical-events
EXDATE of one of three in a day: 20270104T090000 20270104T170000
  icalevents: nothing
  the same: rrule, ical.js, node-ical, ts-ics, ical, recurring-ical-events
control: one moved, by RECURRENCE-ID in local time: 20270104T080000 20270105T130000 20270106T080000
  the same: ical.js, node-ical, icalevents, ical, recurring-ical-events
one moved, by RECURRENCE-ID in UTC: 20270104T090000 20270105T140000 20270106T090000
  ical: 20270104T090000 20270105T090000 20270105T140000 20270106T090000
  the same: ical.js, node-ical, icalevents, recurring-ical-events
this and all later ones moved: 20270104T090000 20270105T100000 20270106T100000
  node-ical: 20270104T090000 20270105T100000 20270106T090000
  icalevents: 20270104T090000 20270105T100000 20270106T090000
  ical: 20270104T090000 20270105T090000 20270105T100000 20270106T090000
  the same: ical.js, recurring-ical-events
P1D over the change of clocks: 20270327T110000/20270328T100000
  node-ical: 20270327T110000/20270328T110000
  ts-ics: 20270327T110000/20270328T110000
  icalevents: 20270327T110000/20270328T110000
  the same: ical.js, ical, recurring-ical-events
PT24H over the change of clocks: 20270327T110000/20270328T110000
  ical.js: 20270327T110000/20270328T100000
  ical: 20270327T110000/20270328T100000
  recurring-ical-events: 20270327T110000/20270328T100000
  the same: node-ical, ts-ics, icalevents
a time that comes twice: 20071104T053000
  ical.js: 20071104T063000
  node-ical: 20071104T063000
  ts-ics: 20071104T063000
  icalevents: 20071104T063000
  the same: ical, recurring-ical-events
a time that is left out: 20070311T073000
  ical.js: 20070311T063000
  the same: node-ical, ts-ics, icalevents, ical, recurring-ical-events
a zone that only the file defines: 20270704T060000/20270704T070000
  node-ical: 20270704T090000/20270704T100000
  the same: ical.js, ts-ics, icalevents, ical, recurring-ical-events
SEEN

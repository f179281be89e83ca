#!/bin/sh
exec python3 - <<'PROGRAM'
import urllib.parse
import urllib.request

for vote, count in (("a", 7), ("b", 4)):
    for _ in range(count):
        urllib.request.urlopen("http://vote/", urllib.parse.urlencode({"vote": vote}).encode()).read()
PROGRAM

#!/usr/bin/env bash
# Seven libraries read other values from git's config files than git, such as the address of another remote, and four write other ones.
#
# Guess: git-config(1), "Syntax", has comments from "#" or ";" outside quotes to the end of the line, after a section's header, too; settings
# behind a header; keys with several values (remote.*.fetch); names of sections and keys in any case; any character but newline and zero in
# the quoted part of a header; a backslash that continues the line; quotes around a value or a part of it; \" \\ \n \t \b in a value, quoted
# or not. git and libgit2 themselves write C:\dir as C:\\dir without quotes, and put a value with "#" or ";" into quotes. So libraries find
# what git finds, and git finds what they write.
#
# Seen 2026-11-30 with gitconfiglocal 2.1.0 (which git-remote-origin-url 4.0.0 uses), parse-git-config 3.0.0, git-config 0.0.7, js-git 0.7.8 and
# isomorphic-git 1.44.19 of npm, GitPython 3.2.1 and dulwich 1.2.21 of PyPI, against pygit2 1.21.0 (libgit2, which finds
# what git 2.47.3 finds), and no error:
#
#   [remote "fork"] # mine         gitconfiglocal, git-remote-origin-url, parse-git-config, git-config: its url becomes the one of the remote
#                                  before it, origin, and there is no fork
#   [branch "release/1.2"]         gitconfiglocal: no such branch
#   hookspath = C:\\hooks          git-config, js-git, GitPython: two backslashes
#   l = log --format=\"%h\"        all but isomorphic-git and dulwich: with the backslashes
#   two values of fetch            gitconfiglocal, parse-git-config, git-config, js-git: the last one only
#   [Remote "Up"] with a URL       the same four: no remote.Up.url
#   one \ and two on the next line the same four and isomorphic-git: one and the backslash
#   [core] bare = true             all but dulwich: no core.bare
#   "less # x", vim # an editor    git-config, js-git: with the quotes, with the comment
#
#   and then another value is set  by GitPython: git finds C:\\hooks and log --format=\"%h\", and no core.bare
#                                  by pygit2 (libgit2 1.9.7): core.bare = true is there once more after each time, as a line of its own
#                                  by dulwich: git finds the start of the alias "!f() { git status; }; f", which it writes without quotes
#   a;b is set                     by dulwich, js-git: git finds a
#
# So a tool that asks for the address of origin may get the one of a fork, and one that sets a user's e-mail address may break a path or an alias.
#
# Needs python3 with venv, node with npm, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GIT_PYTHON_REFRESH=quiet
unset GIT_DIR
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pygit2==1.21.0 GitPython==3.2.1 dulwich==1.2.21
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . gitconfiglocal@2.1.0 git-remote-origin-url@4.0.0 parse-git-config@3.0.0 \
    git-config@0.0.7 js-git@0.7.8 isomorphic-git@1.44.19 >/dev/null
mkdir -p repo/.git/objects repo/.git/refs one/.git
echo 'ref: refs/heads/main' > repo/.git/HEAD
cat > repo/.git/config <<'CONFIG'
[core]
	editor = vim # an editor
	pager = "less # x"
	hookspath = C:\\hooks
	excludesfile = one \
two
[alias]
	l = log --format=\"%h\"
	st = "!f() { git status; }; f"
[remote "origin"]
	url = https://example.com/origin.git
	fetch = +refs/heads/*:refs/remotes/origin/*
	fetch = +refs/tags/*:refs/tags/*
[remote "fork"] # mine
	url = https://example.com/fork.git
[Remote "Up"]
	URL = https://example.com/up.git
[branch "release/1.2"]
	remote = origin
CONFIG
echo '[core] bare = true' > one/.git/config
cat > read.mjs <<'JS'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import git from 'isomorphic-git'
import origin from 'git-remote-origin-url'
const require = createRequire(import.meta.url)
const js = require('js-git/lib/config-codec')
const keys = process.argv.slice(2)
const found = {}
const put = (name, key, value) => { (found[key] ??= {})[name] = value ?? 'nothing' }
for (const dir of ['repo', 'one']) {
  const path = `${dir}/.git/config`
  const text = fs.readFileSync(path, 'utf8')
  const read = {
    gitconfiglocal: await promisify(require('gitconfiglocal'))(dir),
    'parse-git-config': require('parse-git-config').sync({ path, expandKeys: true }),
    'git-config': require('git-config').sync(path),
    'js-git': js.decode(text)
  }
  for (const key of keys.filter((key) => (key === 'core.bare') === (dir === 'one'))) {
    const [, section, sub, name] = key.match(/^([^.]+)(?:\.(.+))?\.([^.]+)$/)
    for (const [library, config] of Object.entries(read)) {
      const of = library === 'git-config' && sub ? config[`${section} "${sub}"`] : sub ? config[section]?.[sub] : config[section]
      put(library, key, of?.[name])
    }
    const all = await git.getConfigAll({ fs, dir, path: key })
    put('isomorphic-git', key, all.length > 1 ? all : all[0])
    if (key === 'remote.origin.url') put('git-remote-origin-url', key, await origin({ cwd: dir }))
  }
}
fs.writeFileSync('by-js-git', js.encode({ alias: { l: 'a;b' } }))
console.log(JSON.stringify(found))
JS
cat > read.py <<'PY'
import json
import shutil
import subprocess
import dulwich.config
import git
import pygit2
COPY = "copy"
KEYS = ["remote.origin.url", "remote.fork.url", "branch.release/1.2.remote", "core.hookspath", "alias.l", "remote.origin.fetch", "remote.Up.url",
        "core.excludesfile", "core.bare", "core.pager", "core.editor", "alias.st"]

def libgit2(path, key):
    values = list(pygit2.Config(path).get_multivar(key))
    return values if len(values) > 1 else values[0] if values else "nothing"

def gitpython(path, section, sub, name):
    config = git.GitConfigParser(path, read_only=True)
    header = f'{section} "{sub}"' if sub else section
    if not config.has_option(header, name):
        return "nothing"
    values = config.get_values(header, name)
    return values if len(values) > 1 else values[0]

def dulwich_(path, section, sub, name):
    config = dulwich.config.ConfigFile.from_path(path)
    values = [value.decode() for value in config.get_multivar((section, sub) if sub else (section,), name)]
    return values if len(values) > 1 else values[0] if values else "nothing"

found = json.loads(subprocess.run(["node", "read.mjs", *KEYS], check=True, capture_output=True, text=True).stdout)
for key in KEYS:
    path = "one/.git/config" if key == "core.bare" else "repo/.git/config"
    section, rest = key.split(".", 1)
    sub, _, name = rest.rpartition(".")
    found[key]["GitPython"] = gitpython(path, section, sub, name)
    found[key]["dulwich"] = dulwich_(path, section, sub, name)
    right = libgit2(path, key)
    print(f"{key} is {right}")
    same = [library for library, value in found[key].items() if value == right or str(value).lower() == right]
    for library, value in found[key].items():
        if library not in same:
            print(f"  {library}: {value}")
    print(f"  the same: {', '.join(same)}")

print("after another value was set three times, libgit2 finds")
for library in ["pygit2", "GitPython", "dulwich"]:
    for path in ["repo/.git/config", "one/.git/config"]:
        shutil.copy(path, COPY)
        for email in ["a@example.com", "b@example.com", "c@example.com"]:
            if library == "pygit2":
                pygit2.Config(COPY)["user.email"] = email
            elif library == "GitPython":
                with git.GitConfigParser(COPY, read_only=False) as config:
                    config.set_value("user", "email", email)
            else:
                config = dulwich.config.ConfigFile.from_path(COPY)
                config.set("user", "email", email)
                config.write_to_path(COPY)
        keys = ["core.bare"] if path.startswith("one") else ["core.hookspath", "alias.l", "alias.st"]
        print(f"  {library}: {', '.join(f'{key} {libgit2(COPY, key)}' for key in keys)}")
print("for a;b, libgit2 finds")
open("by-pygit2", "w").close()
pygit2.Config("by-pygit2")["alias.l"] = "a;b"
open("by-GitPython", "w").close()
with git.GitConfigParser("by-GitPython", read_only=False) as config:
    config.set_value("alias", "l", "a;b")
config = dulwich.config.ConfigFile()
config.set("alias", "l", "a;b")
config.write_to_path("by-dulwich")
for library in ["pygit2", "GitPython", "dulwich", "js-git"]:
    print(f"  {library}: {libgit2(f'by-{library}', 'alias.l')}")
PY
venv/bin/python read.py | tee seen
diff seen - <<'SEEN' && echo "as it was"
remote.origin.url is https://example.com/origin.git
  gitconfiglocal: https://example.com/fork.git
  parse-git-config: https://example.com/fork.git
  git-config: https://example.com/fork.git
  git-remote-origin-url: https://example.com/fork.git
  the same: js-git, isomorphic-git, GitPython, dulwich
remote.fork.url is https://example.com/fork.git
  gitconfiglocal: nothing
  parse-git-config: nothing
  git-config: nothing
  the same: js-git, isomorphic-git, GitPython, dulwich
branch.release/1.2.remote is origin
  gitconfiglocal: nothing
  the same: parse-git-config, git-config, js-git, isomorphic-git, GitPython, dulwich
core.hookspath is C:\hooks
  git-config: C:\\hooks
  js-git: C:\\hooks
  GitPython: C:\\hooks
  the same: gitconfiglocal, parse-git-config, isomorphic-git, dulwich
alias.l is log --format="%h"
  gitconfiglocal: log --format=\"%h\"
  parse-git-config: log --format=\"%h\"
  git-config: log --format=\"%h\"
  js-git: log --format=\"%h\"
  GitPython: log --format=\"%h\"
  the same: isomorphic-git, dulwich
remote.origin.fetch is ['+refs/heads/*:refs/remotes/origin/*', '+refs/tags/*:refs/tags/*']
  gitconfiglocal: +refs/tags/*:refs/tags/*
  parse-git-config: +refs/tags/*:refs/tags/*
  git-config: +refs/tags/*:refs/tags/*
  js-git: +refs/tags/*:refs/tags/*
  the same: isomorphic-git, GitPython, dulwich
remote.Up.url is https://example.com/up.git
  gitconfiglocal: nothing
  parse-git-config: nothing
  git-config: nothing
  js-git: nothing
  the same: isomorphic-git, GitPython, dulwich
core.excludesfile is one two
  gitconfiglocal: one \
  parse-git-config: one \
  git-config: one \
  js-git: one \
  isomorphic-git: one \
  the same: GitPython, dulwich
core.bare is true
  gitconfiglocal: nothing
  parse-git-config: nothing
  git-config: nothing
  js-git: nothing
  isomorphic-git: nothing
  GitPython: nothing
  the same: dulwich
core.pager is less # x
  git-config: "less # x"
  js-git: "less # x"
  the same: gitconfiglocal, parse-git-config, isomorphic-git, GitPython, dulwich
core.editor is vim
  git-config: vim # an editor
  js-git: vim # an editor
  the same: gitconfiglocal, parse-git-config, isomorphic-git, GitPython, dulwich
alias.st is !f() { git status; }; f
  git-config: "!f() { git status; }; f"
  js-git: "!f() { git status; }; f"
  the same: gitconfiglocal, parse-git-config, isomorphic-git, GitPython, dulwich
after another value was set three times, libgit2 finds
  pygit2: core.hookspath C:\hooks, alias.l log --format="%h", alias.st !f() { git status; }; f
  pygit2: core.bare ['true', 'true', 'true', 'true']
  GitPython: core.hookspath C:\\hooks, alias.l log --format=\"%h\", alias.st !f() { git status; }; f
  GitPython: core.bare nothing
  dulwich: core.hookspath C:\hooks, alias.l log --format="%h", alias.st !f() { git status
  dulwich: core.bare true
for a;b, libgit2 finds
  pygit2: a;b
  GitPython: a;b
  dulwich: a
  js-git: a
SEEN

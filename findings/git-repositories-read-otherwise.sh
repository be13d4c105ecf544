#!/usr/bin/env bash
# Nine libraries that read git's repositories and commits find other tags, commits, messages and times than git does, with no error.
#
# Guess: a ref of its own file counts before the one in packed-refs (git-pack-refs(1)), a symbolic ref is what it points at, and a branch's or
# tag's name may contain "/" (git-check-ref-format(1)); git clone, fetch and gc put objects and refs into packs and packed-refs. The last tag
# is the one that is reachable by fewest commits, through any parent, and a description counts all commits since then (git-describe(1)). A time
# zone is hours and minutes, so +0530 is 330 minutes (git-commit-tree(1), "DATE FORMATS"). The lines of a header that start with a blank belong
# to it (gitformat-signature(5), "mergetag"), "encoding" tells a message's encoding (git-commit(1), "DISCUSSION"), and all lines after the
# first empty one are the message. So all libraries find what git finds.
#
# Seen 2026-11-30 with git-repo-info 2.1.1, git-local-info 1.0.1, git-commit-id 2.0.1, git-refs 1.1.3, js-git 0.7.8, @es-git/object-mixin
# 0.10.0 and git-parse-commit 1.1.0 of npm, GitPython 3.2.1 and pure-python-git 1.0.2 of PyPI, and no error; pygit2 1.21.0 (libgit2, which
# made the repositories), dulwich 1.2.21 or isomorphic-git 1.44.19 find in each case what git 2.47.3 finds:
#
#   a message of three paragraphs           git-repo-info, git-local-info: its last line
#   the message "type of the counter ..."   both: none
#   a repository after gc                   both: no message; git-repo-info: no last tag; git-commit-id: 4b825dc..., which is no commit;
#                                           pure-python-git: show-ref lists no refs
#   a merge, v1.0 on the first parent       git-repo-info: the last tag is v0.9, of an older commit; pure-python-git: v1.0-1 for v1.0-2
#   tags v1.0 and release/1.0               git-repo-info: no tag
#   a fetched tag v1.0 (itself in a pack)   git-repo-info: no tag
#   a tag moved after it was packed         git-repo-info: the old commit has it still
#   origin/HEAD after a fetch               git-refs: the commit before the fetch
#   no tag v1.1, but v1.10 in packed-refs   js-git: v1.1 is the commit of v1.10
#   times at +0530 and -0330                js-git, @es-git/object-mixin: 318 and -198 minutes; written back, they are at +0518 and -0318
#   a merge of a signed tag                 git-parse-commit: the title is that of the tag
#   a committer at authors.example.org      git-parse-commit: is the author, and there is no committer
#   a message in ISO-8859-1                 GitPython: its encoding is UTF-8, and the letter with two dots is lost
#
# So a build that takes its version from such a library may get another one in a fresh clone than in the clone in which the tag was made.
#
# Needs python3 with venv, node with npm, two minutes, and network for the two package registries. Exits 1 when anything of this changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GIT_PYTHON_REFRESH=quiet
unset GIT_DIR
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pygit2==1.21.0 GitPython==3.2.1 dulwich==1.2.21 pure-python-git==1.0.2
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . git-repo-info@2.1.1 git-local-info@1.0.1 git-commit-id@2.0.1 git-refs@1.1.3 \
    js-git@0.7.8 git-node-fs@1.0.0 @es-git/object-mixin@0.10.0 git-parse-commit@1.1.0 isomorphic-git@1.44.19 >/dev/null
cat > make.py <<'PY'
import json, os, shutil
import pygit2
TEXT = "Add the form\n\nIt has two fields.\n\nReviewed-by: Ben <ben@example.org>\n"

def who(minutes=0, second=0, name="Asha", mail="asha@example.org"):
    return pygit2.Signature(name, mail, 1800000000 + second, minutes)

def new(name):
    repo = pygit2.init_repository(name, initial_head="main")
    return repo, repo.TreeBuilder().write()

def commit(repo, tree, parents, message, minutes=0, committer=None, encoding="utf-8"):
    author = who(minutes, len(parents) * 10 + len(list(repo)))
    return repo.create_commit(None, author, committer or author, message.encode(encoding), tree, parents,
                              *([encoding] if encoding != "utf-8" else []))

def refs(repo, **targets):
    for name, target in targets.items():
        repo.references.create("refs/" + name.replace("__", "/").replace("_", "."), target)

def pack(repo):
    repo.pack()
    for folder in os.listdir(repo.path + "objects"):
        if len(folder) == 2:
            shutil.rmtree(repo.path + "objects/" + folder)

repo, tree = new("merge")
zero = commit(repo, tree, [], "Start\n")
one = commit(repo, tree, [zero], "One\n")
side = commit(repo, tree, [zero], "Side\n")
refs(repo, heads__main=commit(repo, tree, [one, side], "Merge\n"), tags__v1_0=one, tags__v0_9=zero)

repo, tree = new("text")
zero = commit(repo, tree, [], TEXT)
refs(repo, heads__main=zero, tags__v1_0=zero)

repo, tree = new("packed")
zero = commit(repo, tree, [], "Start\n")
tag = repo.create_tag("v1.0", zero, pygit2.enums.ObjectType.COMMIT, who(), "Version 1.0\n")
refs(repo, heads__main=commit(repo, tree, [zero], "One\n"))
repo.compress_references()
pack(repo)

repo, tree = new("fetched")
zero = commit(repo, tree, [], "Start\n")
repo.create_tag("v1.0", zero, pygit2.enums.ObjectType.COMMIT, who(), "Version 1.0\n")
refs(repo, heads__main=zero)
pack(repo)

repo, tree = new("type")
refs(repo, heads__main=commit(repo, tree, [], "type of the counter is number\n"))

repo, tree = new("folder")
zero = commit(repo, tree, [], "Start\n")
refs(repo, heads__main=zero, tags__v1_0=zero, tags__release__1_0=zero)

repo, tree = new("moved")
zero = commit(repo, tree, [], "Start\n")
one = commit(repo, tree, [zero], "One\n")
refs(repo, heads__main=zero, tags__v1_0=zero, tags__v1_10=one, remotes__origin__main=zero)
repo.references.create("refs/remotes/origin/HEAD", "refs/remotes/origin/main")
repo.compress_references()
repo.references["refs/tags/v1.0"].set_target(one)
repo.references["refs/remotes/origin/main"].set_target(one)

repo, tree = new("commits")
plain = commit(repo, tree, [], "Text\n")
signature = "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n=AAAA\n-----END PGP SIGNATURE-----"
tag = repo.create_tag("v1.0", plain, pygit2.enums.ObjectType.COMMIT, who(), f"Version 1.0\n{signature}\n")
merge = repo[commit(repo, tree, [plain, plain], "Merge the tag 'v1.0'\n")].read_raw().decode()
json.dump({name: str(oid) for name, oid in {
    "a commit at +0200": commit(repo, tree, [], "Text\n", 120),
    "a commit at +0530": commit(repo, tree, [], "Text\n", 330),
    "a commit at -0330": commit(repo, tree, [], "Text\n", -210),
    "a committer at authors.example.org": commit(repo, tree, [], "Text\n", committer=who(0, 0, "Ben", "ben@authors.example.org")),
    "a merge of a signed tag": repo.create_commit_with_signature(merge, repo[tag].read_raw().decode().rstrip("\n"), "mergetag"),
    "a commit in ISO-8859-1": commit(repo, tree, [], "Zo\u00eb\n", encoding="ISO-8859-1"),
}.items()}, open("commits.json", "w"))
PY
cat > read.cjs <<'JS'
const fs = require('node:fs')
const path = require('node:path')
const zlib = require('node:zlib')
const git = require('isomorphic-git')
const info = require('git-repo-info')
const LocalInfo = require('git-local-info')
const commitId = require('git-commit-id')
const gitRefs = require('git-refs')
const parse = require('git-parse-commit')
const addFolder = require('git-node-fs/mixins/fs-db')
const objects = require('@es-git/object-mixin').default
const later = (call, ...args) => new Promise((resolve, reject) => call(...args, (error, value) => error ? reject(error) : resolve(value)))
const jsGit = name => { const repo = {}; addFolder(repo, path.resolve(name, '.git')); return repo }
const shown = value => value == null || value === '' ? 'none' : JSON.stringify(value).replace(/^"(.*)"$/, '$1')
const say = (what, reader, value) => console.log(`${what} | ${reader}: ${shown(value)}`)

async function main () {
  const head = name => git.resolveRef({ fs, dir: name, ref: 'HEAD' })
  const message = async name => (await git.readCommit({ fs, dir: name, oid: await head(name) })).commit.message
  const tags = async name => {
    const found = []
    for (const tag of await git.listTags({ fs, dir: name })) {
      const { oid } = await git.readCommit({ fs, dir: name, oid: await git.resolveRef({ fs, dir: name, ref: `refs/tags/${tag}` }) })
      if (oid === await head(name)) found.push(tag)
    }
    return found.join(' ')
  }
  for (const name of ['text', 'type', 'packed']) {
    const what = `the message of HEAD of "${name}"`
    say(what, 'isomorphic-git', await message(name))
    say(what, 'js-git', (await later(jsGit(name).loadAs, 'commit', await head(name))).message)
    say(what, 'git-repo-info', info(path.resolve(name, '.git')).commitMessage)
    say(what, 'git-local-info', (new LocalInfo({ gitPath: path.resolve(name, '.git') }).getGitInfo.commit || {}).commitMessage)
  }
  for (const name of ['text', 'folder', 'fetched', 'moved']) {
    say(`the tags of HEAD of "${name}"`, 'isomorphic-git', await tags(name))
    say(`the tags of HEAD of "${name}"`, 'git-repo-info', info(path.resolve(name, '.git')).tag)
  }
  for (const name of ['text', 'merge', 'packed']) {
    const { lastTag, commitsSinceLastTag } = info(path.resolve(name, '.git'))
    say(`the last tag of HEAD of "${name}"`, 'git-repo-info', `${lastTag} and ${commitsSinceLastTag} more`)
  }
  for (const name of ['text', 'packed']) {
    const what = `the commit of HEAD of "${name}"`
    const real = await head(name)
    say(what, 'git-repo-info', info(path.resolve(name, '.git')).sha === real ? 'right' : 'another')
    say(what, 'git-commit-id', commitId({ cwd: name }) === real ? 'right' : commitId({ cwd: name }))
  }
  const dir = 'moved'
  const names = new Map()
  for (const { oid, commit } of await git.log({ fs, dir, ref: 'refs/tags/v1.10' })) names.set(oid, commit.message.trim())
  const subject = oid => oid && (names.get(oid.trim()) || 'another commit')
  const listed = await later(gitRefs, path.resolve(dir, '.git'))
  for (const ref of ['refs/remotes/origin/main', 'refs/remotes/origin/HEAD', 'refs/tags/v1.10', 'refs/tags/v1.1']) {
    say(`${ref} of "${dir}"`, 'isomorphic-git', subject(await git.resolveRef({ fs, dir, ref }).catch(() => '')))
    say(`${ref} of "${dir}"`, 'git-refs', subject(listed.get(ref.slice(5))))
    if (!ref.endsWith('HEAD')) say(`${ref} of "${dir}"`, 'js-git', subject(await later(jsGit(dir).readRef, ref)))
  }
  const loose = oid => path.resolve('commits/.git/objects', oid.slice(0, 2), oid.slice(2))
  class Folder {
    async loadRaw (oid) { return new Uint8Array(zlib.inflateSync(fs.readFileSync(loose(oid)))) }
    async saveRaw (oid, raw) { fs.mkdirSync(path.dirname(loose(oid)), { recursive: true }); fs.writeFileSync(loose(oid), zlib.deflateSync(raw)) }
  }
  const ObjectFolder = objects(Folder)
  const es = new ObjectFolder()
  const js = jsGit('commits')
  const written = {}
  for (const [what, oid] of Object.entries(JSON.parse(fs.readFileSync('commits.json')))) {
    const { commit } = await git.readCommit({ fs, dir: 'commits', oid })
    if (/ at [+-]/.test(what)) {
      const read = await later(js.loadAs, 'commit', oid)
      const object = await es.loadObject(oid)
      say(what, 'isomorphic-git', `${commit.author.timezoneOffset} minutes`)
      say(what, 'js-git', `${read.author.date.offset} minutes`)
      say(what, '@es-git/object-mixin', `${object.body.author.date.offset} minutes`)
      written[`${what}, written back`] = {
        'isomorphic-git': await git.writeCommit({ fs, dir: 'commits', commit }),
        'js-git': await later(js.saveAs, 'commit', read),
        '@es-git/object-mixin': await es.saveObject(object)
      }
    } else if (!/ISO/.test(what)) {
      const raw = zlib.inflateSync(fs.readFileSync(loose(oid)))
      const { author, committer, title } = parse(raw.subarray(raw.indexOf(0) + 1).toString())
      const shown = people => people.map(one => one ? `${one.name} <${one.email}>` : 'nobody').join(', ')
      say(what, 'isomorphic-git', `${shown([commit.author, commit.committer])}: ${commit.message.split('\n')[0]}`)
      say(what, 'git-parse-commit', `${shown([author, committer])}: ${title}`)
    }
  }
  fs.writeFileSync('written.json', JSON.stringify(written))
}
main()
JS
cat > read.py <<'PY'
import json, subprocess, warnings
warnings.simplefilter("ignore")
import git
import pygit2
from dulwich import porcelain
from dulwich.repo import Repo

def pygit(name, *command):
    return subprocess.run(["../venv/bin/pygit", *command], cwd=name, check=True, capture_output=True, text=True).stdout.strip()

for name in ["text", "merge", "packed"]:
    what = f'the description of HEAD of "{name}"'
    print(f"{what} | pygit2:", pygit2.Repository(name).describe(describe_strategy=pygit2.enums.DescribeStrategy.TAGS))
    print(f"{what} | dulwich:", porcelain.describe(name))
    if name != "packed":
        print(f"{what} | pure-python-git:", pygit(name, "describe", "--tags"))
for name in ["text", "packed"]:
    what = f'the refs of "{name}"'
    print(f"{what} | pygit2:", *sorted(pygit2.Repository(name).references))
    print(f"{what} | pure-python-git:", *sorted(line.split()[1] for line in pygit(name, "show-ref").splitlines()) or ["none"])
repo = pygit2.Repository("commits")
for what, oids in json.load(open("written.json")).items():
    for writer, oid in oids.items():
        print(f"{what} | {writer}: {repo[oid].author.offset:+} minutes")
oid = json.load(open("commits.json"))["a commit in ISO-8859-1"]
print("a commit in ISO-8859-1 | pygit2:", repo[oid].message_encoding, ascii(repo[oid].message.strip()))
one = Repo("commits")[oid.encode()]
print("a commit in ISO-8859-1 | dulwich:", one.encoding.decode(), ascii(one.message.decode(one.encoding.decode()).strip()))
one = git.Repo("commits", odbt=git.GitDB).commit(oid)
print("a commit in ISO-8859-1 | GitPython:", one.encoding, ascii(one.message.strip()))
PY
venv/bin/python make.py
{ node --no-deprecation read.cjs; venv/bin/python read.py; } | while IFS= read -r line; do
  [ "${line%% | *}" = "${last-}" ] || echo "${line%% | *}"
  last=${line%% | *}
  echo "  ${line#* | }"
done | tee seen
diff seen - <<'SEEN' && echo "as it was"
the message of HEAD of "text"
  isomorphic-git: Add the form\n\nIt has two fields.\n\nReviewed-by: Ben <ben@example.org>\n
  js-git: Add the form\n\nIt has two fields.\n\nReviewed-by: Ben <ben@example.org>\n
  git-repo-info: Reviewed-by: Ben <ben@example.org>
  git-local-info: Reviewed-by: Ben <ben@example.org>
the message of HEAD of "type"
  isomorphic-git: type of the counter is number\n
  js-git: type of the counter is number\n
  git-repo-info: none
  git-local-info: none
the message of HEAD of "packed"
  isomorphic-git: One\n
  js-git: One\n
  git-repo-info: none
  git-local-info: none
the tags of HEAD of "text"
  isomorphic-git: v1.0
  git-repo-info: v1.0
the tags of HEAD of "folder"
  isomorphic-git: release/1.0 v1.0
  git-repo-info: none
the tags of HEAD of "fetched"
  isomorphic-git: v1.0
  git-repo-info: none
the tags of HEAD of "moved"
  isomorphic-git: none
  git-repo-info: v1.0
the last tag of HEAD of "text"
  git-repo-info: v1.0 and 0 more
the last tag of HEAD of "merge"
  git-repo-info: v0.9 and 2 more
the last tag of HEAD of "packed"
  git-repo-info: null and Infinity more
the commit of HEAD of "text"
  git-repo-info: right
  git-commit-id: right
the commit of HEAD of "packed"
  git-repo-info: right
  git-commit-id: 4b825dc642cb6eb9a060e54bf8d69288fbee4904
refs/remotes/origin/main of "moved"
  isomorphic-git: One
  git-refs: One
  js-git: One
refs/remotes/origin/HEAD of "moved"
  isomorphic-git: One
  git-refs: Start
refs/tags/v1.10 of "moved"
  isomorphic-git: One
  git-refs: One
  js-git: One
refs/tags/v1.1 of "moved"
  isomorphic-git: none
  git-refs: none
  js-git: One
a commit at +0200
  isomorphic-git: -120 minutes
  js-git: -120 minutes
  @es-git/object-mixin: -120 minutes
a commit at +0530
  isomorphic-git: -330 minutes
  js-git: -318 minutes
  @es-git/object-mixin: -318 minutes
a commit at -0330
  isomorphic-git: 210 minutes
  js-git: 198 minutes
  @es-git/object-mixin: 198 minutes
a committer at authors.example.org
  isomorphic-git: Asha <asha@example.org>, Ben <ben@authors.example.org>: Text
  git-parse-commit: committer Ben <ben@authors.example.org>, nobody: Text
a merge of a signed tag
  isomorphic-git: Asha <asha@example.org>, Asha <asha@example.org>: Merge the tag 'v1.0'
  git-parse-commit: Asha <asha@example.org>, Asha <asha@example.org>:  Version 1.0
the description of HEAD of "text"
  pygit2: v1.0
  dulwich: v1.0
  pure-python-git: v1.0
the description of HEAD of "merge"
  pygit2: v1.0-2-g2e9a0aa
  dulwich: v1.0-2-g2e9a0aa
  pure-python-git: v1.0-1-g2e9a0aa
the description of HEAD of "packed"
  pygit2: v1.0-1-g25c5632
  dulwich: v1.0-1-g25c5632
the refs of "text"
  pygit2: refs/heads/main refs/tags/v1.0
  pure-python-git: refs/heads/main refs/tags/v1.0
the refs of "packed"
  pygit2: refs/heads/main refs/tags/v1.0
  pure-python-git: none
a commit at +0200, written back
  isomorphic-git: +120 minutes
  js-git: +120 minutes
  @es-git/object-mixin: +120 minutes
a commit at +0530, written back
  isomorphic-git: +330 minutes
  js-git: +318 minutes
  @es-git/object-mixin: +318 minutes
a commit at -0330, written back
  isomorphic-git: -210 minutes
  js-git: -198 minutes
  @es-git/object-mixin: -198 minutes
a commit in ISO-8859-1
  pygit2: ISO-8859-1 'Zo\xeb'
  dulwich: ISO-8859-1 'Zo\xeb'
  GitPython: UTF-8 'Zo\ufffd'
SEEN

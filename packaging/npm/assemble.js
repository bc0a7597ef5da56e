// node assemble.js OUT PLATFORM BINARY SHARE, with `cargo metadata` on standard input: writes the package for this
// platform, and the main package with all platforms that OUT holds as optional dependencies of exactly its version.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const [out, platform, binary, share] = process.argv.slice(2);
const { version, description, license, repository, keywords, authors } = JSON.parse(fs.readFileSync(0)).packages[0];
const common = { version, license, repository: { type: "git", url: `git+${repository}.git` }, author: authors[0] };

function write(name, fields, files) {
  const directory = path.join(out, name);
  fs.rmSync(directory, { recursive: true, force: true });
  for (const [to, from] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(directory, to)), { recursive: true });
    fs.copyFileSync(from, path.join(directory, to));
  }
  const licenses = ["LICENSE-MIT", "LICENSE-APACHE"];
  for (const file of licenses) fs.copyFileSync(file, path.join(directory, file));
  const manifest = { name, ...fields, ...common, files: [...Object.keys(files), ...licenses] };
  fs.writeFileSync(path.join(directory, "package.json"), JSON.stringify(manifest, null, 2) + "\n");
}

// What another version left is no platform of this one.
fs.mkdirSync(out, { recursive: true });
for (const name of fs.readdirSync(out)) {
  const old = JSON.parse(fs.readFileSync(path.join(out, name, "package.json")));
  if (old.version !== version) fs.rmSync(path.join(out, name), { recursive: true });
}

const [os, cpu] = platform.split("-");
write(
  `reloadrun-${platform}`,
  { description: `The binary of reloadrun for ${os} on ${cpu}.`, os: [os], cpu: [cpu], preferUnplugged: true },
  { "bin/reloadrun": binary },
);
fs.chmodSync(path.join(out, `reloadrun-${platform}`, "bin/reloadrun"), 0o755);

const platforms = fs.readdirSync(out).filter((name) => name.startsWith("reloadrun-"));
write(
  "reloadrun",
  {
    description,
    keywords,
    bin: { reloadrun: "reloadrun.js" },
    man: ["man/reloadrun.1"],
    engines: { node: ">=18" },
    optionalDependencies: Object.fromEntries(platforms.map((name) => [name, version])),
  },
  {
    "reloadrun.js": "packaging/npm/reloadrun.js",
    "README.md": "README.md",
    "man/reloadrun.1": path.join(share, "man/man1/reloadrun.1"),
    "completions/reloadrun.bash": path.join(share, "bash-completion/completions/reloadrun"),
    "completions/_reloadrun": path.join(share, "zsh/site-functions/_reloadrun"),
    "completions/reloadrun.fish": path.join(share, "fish/vendor_completions.d/reloadrun.fish"),
  },
);

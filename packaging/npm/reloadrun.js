#!/usr/bin/env node
// Becomes the binary for this platform, which npm installed as an optional package.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const name = `reloadrun-${process.platform}-${process.arch}`;
let program;
try {
  program = require.resolve(`${name}/bin/reloadrun`);
} catch {
  console.error(
    `reloadrun: the package ${name} is not installed; either there is no reloadrun for this platform, ` +
      "or optional packages were left out (npm install --include=optional)",
  );
  process.exit(126);
}
const words = process.argv.slice(2);

if (typeof process.execve === "function") {
  // Node 22.15 and newer: no process of ours stays in between. A failed execve ends the process.
  process.removeAllListeners("warning");
  // Node ignores these two, and a program inherits what is ignored: the command would, too. A handler that is taken
  // away leaves the signal as it is by default.
  for (const ignored of ["SIGPIPE", "SIGXFSZ"]) {
    const handler = () => {};
    process.on(ignored, handler).off(ignored, handler);
  }
  process.execve(program, [program, ...words], process.env);
}

const child = spawn(program, words, { stdio: "inherit" });
// A signal from a terminal reaches both of us, and a second one would mean "at once": so only those are passed on
// that somebody sent to this process alone.
const typed = process.stdin.isTTY ? ["SIGINT", "SIGQUIT", "SIGHUP"] : [];
for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2"]) {
  process.on(signal, () => {
    if (!typed.includes(signal)) child.kill(signal);
  });
}
child.on("error", (error) => {
  console.error(`reloadrun: cannot run ${program}: ${error.message}`);
  process.exit(126);
});
child.on("exit", (code, signal) => {
  process.exit(code ?? 128 + constants.signals[signal]);
});

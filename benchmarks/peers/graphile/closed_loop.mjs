// graphile-worker under closed-loop producers; the same as closed_loop.py, which says more.
// node closed_loop.mjs HOST DATABASE PRODUCERS WARM_UP_SEC SECONDS

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const [host, database, producersText, warmUpText, secondsText] = process.argv.slice(2);
const producers = Number(producersText);
const begun = new Map();
const latencies = [];
let last = 0;

const silent = new Logger(() => () => {});
const pgPool = new pg.Pool({ host, port: 5432, user: "postgres", database, max: producers + 2 });
const utils = await makeWorkerUtils({ pgPool, logger: silent });
await utils.migrate();

function nothing({ number }) {
  begun.get(number)();
  begun.delete(number);
}

const runner = await run({
  pgPool,
  concurrency: producers,
  noHandleSignals: true,
  logger: silent,
  taskList: { nothing },
});

const cpuBefore = process.cpuUsage();
const start = performance.now() + Number(warmUpText) * 1000;
const end = start + Number(secondsText) * 1000;

async function produce() {
  for (let began = performance.now(); began < end; began = performance.now()) {
    const number = ++last;
    const isBegun = new Promise((resolve) => begun.set(number, resolve));
    await utils.addJob("nothing", { number });
    await isBegun;
    if (began >= start) latencies.push(performance.now() - began);
  }
}

await Promise.all(Array.from({ length: producers }, produce));
const cpu = process.cpuUsage(cpuBefore);
const cpu_seconds = (cpu.user + cpu.system) / 1e6;
console.log(JSON.stringify({ latencies_ms: latencies, seconds: Number(secondsText), cpu_seconds, jobs: last }));
await runner.stop();
await pgPool.end();
process.exit(0);

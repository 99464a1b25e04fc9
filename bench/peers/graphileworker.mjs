// graphile-worker: "backlog N" runs N jobs that are there and prints jobs per
// second; "serve" runs what comes until it is killed.
import { Logger, run, makeWorkerUtils } from 'graphile-worker';
import pg from 'pg';

const [, , what, count] = process.argv;
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 30 });
pool.on('error', console.error);
pool.on('connect', (client) => client.on('error', console.error));

if (what === 'install') {
	const utils = await makeWorkerUtils({ pgPool: pool });
	await utils.migrate();
	await utils.release();
} else {
	let left = Number(count);
	let done;
	const finished = new Promise((resolve) => { done = resolve; });
	const taskList = {
		nothing: async () => { if (--left === 0) done(); },
		probe: async ({ id }) => { await pool.query('INSERT INTO started VALUES ($1, clock_timestamp())', [id]); },
	};
	const begin = process.hrtime.bigint();
	await run({
		pgPool: pool, taskList, noHandleSignals: what !== 'serve', logger: new Logger(() => () => {}),
		// as its documentation says for throughput
		preset: { worker: what === 'serve' ? { concurrentJobs: 10 } :
			{ concurrentJobs: 24, maxPoolSize: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
	});
	if (what === 'backlog') {
		await finished;
		console.log(Math.round(Number(count) / (Number(process.hrtime.bigint() - begin) / 1e9)));
		process.exit();
	}
}

// pg-boss 10: "install"; "fill N" adds N jobs; "backlog N" runs N jobs that are
// there and prints jobs per second; "serve" runs what comes until it is killed.
import PgBoss from 'pg-boss';
import pg from 'pg';

const [, , what, count] = process.argv;
const boss = new PgBoss({ connectionString: process.env.DATABASE_URL });
boss.on('error', console.error);
await boss.start();
await boss.createQueue('nothing');
await boss.createQueue('probe');
if (what === 'fill') {
	for (let i = 0; i < Number(count); i += 1000)
		await boss.insert(Array.from({ length: 1000 }, () => ({ name: 'nothing', data: {} })));
	await boss.stop();
} else if (what === 'backlog') {
	let left = Number(count);
	const begin = process.hrtime.bigint();
	while (left > 0) {
		const jobs = await boss.fetch('nothing', { batchSize: 1000 });
		if (jobs.length === 0)
			continue;
		await boss.complete('nothing', jobs.map((job) => job.id));
		left -= jobs.length;
	}
	console.log(Math.round(Number(count) / (Number(process.hrtime.bigint() - begin) / 1e9)));
	await boss.stop();
} else if (what === 'serve') {
	const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
	await boss.work('probe', { pollingIntervalSeconds: 0.5, batchSize: 1000 }, async (jobs) => {
		for (const job of jobs)
			await pool.query('INSERT INTO started VALUES ($1, clock_timestamp())', [job.data.id]);
	});
} else
	await boss.stop();

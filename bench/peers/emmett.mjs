// The tables and functions of Emmett's event store
import * as emmett from '@event-driven-io/emmett-postgresql';

const store = emmett.getPostgreSQLEventStore(process.env.DATABASE_URL);
await store.schema.migrate();
await store.close();

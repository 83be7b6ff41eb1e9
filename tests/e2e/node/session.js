// One session of node-postgres: simple, parameters, named statement, types, cursor, error, transaction. Prints JSON.
const { Client } = require("pg");
const Cursor = require("pg-cursor");

async function main() {
  const client = new Client({ connectionString: process.argv[2], ssl: process.argv[3] ? { ca: require("fs").readFileSync(process.argv[3]), servername: "localhost" } : false });
  const seen = [];
  await client.connect();
  seen.push((await client.query("select id, name, price from products order by id limit 5")).rows);
  seen.push((await client.query("select id, name from products where id = $1", [7])).rows);
  for (const id of [1, 2, 3]) {
    seen.push((await client.query({ name: "by-id", text: "select name from products where id = $1", values: [id] })).rows);
  }
  seen.push((await client.query("select 1 as a; select 2 as b")).map((result) => result.rows));
  seen.push((await client.query("select true as t, null as n, array[1,2] as l, '{\"x\":1}'::jsonb as j, now() is not null as w")).rows);
  const cursor = client.query(new Cursor("select id from orders order by id limit 10"));
  seen.push(await cursor.read(4));
  seen.push(await cursor.read(4));
  await cursor.close();
  try {
    await client.query("select 1/0");
  } catch (error) {
    seen.push([error.code, error.message]);
  }
  await client.query("begin");
  await client.query("create temp table n (a int)");
  seen.push((await client.query("insert into n values ($1), ($2) returning a", [1, 2])).rows);
  await client.query("rollback");
  await client.end();
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});

const express = require("express");
const {Pool} = require("pg");

const app = express();
const pool = new Pool({connectionString: "postgres://postgres:postgres@db/postgres"});

app.get("/", async (request, response) => {
  try {
    const found = await pool.query("SELECT vote, COUNT(id) AS count FROM votes GROUP BY vote ORDER BY vote");
    response.send(`Results: ${found.rows.map(row => `${row.vote}=${row.count}`).join(" ")}`);
  } catch (error) {
    response.send("Results: none");
  }
});

app.listen(process.env.PORT || 4000, () => console.log("App running"));

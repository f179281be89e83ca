const fs = require("fs");
const express = require("express");
const mysql = require("mysql2/promise");

const password = fs.readFileSync(process.env.DATABASE_PASSWORD, "utf8").trim();
const pool = mysql.createPool({
  host: process.env.DATABASE_HOST, user: process.env.DATABASE_USER, database: process.env.DATABASE_DB, password,
});

async function connect() {
  for (;;) {
    try {
      return await pool.query("CREATE TABLE IF NOT EXISTS whales (name VARCHAR(80))");
    } catch (error) {
      console.log(`waiting for the database: ${error.message}`);
      await new Promise(resolve => setTimeout(resolve, 500));
    }
  }
}

const app = express();
app.use(express.urlencoded({extended: false}));
app.get("/healthz", (request, response) => response.send("I am happy and healthy\n"));
app.get("/api/whales", async (request, response) => {
  const [rows] = await pool.query("SELECT name FROM whales");
  response.json(rows.map(row => row.name));
});
app.post("/api/whales", async (request, response) => {
  await pool.query("INSERT INTO whales VALUES (?)", [request.body.name]);
  response.json("kept");
});
connect().then(() => app.listen(process.env.PORT, () => console.log(`listening on ${process.env.PORT}`)));

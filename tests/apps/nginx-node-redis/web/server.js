const os = require("os");
const express = require("express");
const redis = require("redis");

const app = express();
const store = redis.createClient({url: "redis://redis:6379"});
app.use(express.urlencoded({extended: false}));

app.get("/", async (request, response) => {
  response.send(`${os.hostname()}: ${await store.get("word") || "nothing yet"}`);
});

app.post("/", async (request, response) => {
  await store.set("word", request.body.word);
  response.send("kept");
});

store.connect().then(() => app.listen(5000, () => console.log("listening on 5000")));

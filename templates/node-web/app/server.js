const http = require("node:http");

const server = http.createServer((request, response) => {
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(`${process.env.GREETING} from envkit\n`);
});

server.listen(3000, "0.0.0.0", () => console.log("listening on port 3000"));
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => server.close(() => process.exit(0)));

// Passes requests on to http://service:8000 with an agent that keeps connections: gateway.js MS [retry]
// MS: how long an idle connection may be reused. retry: a request that failed on one is sent once more.
const http = require("http");

const agent = new http.Agent({ keepAlive: true, timeout: Number(process.argv[2]) });
const retries = process.argv[3] === "retry";

function pass(method, answer) {
  const request = http.request({ agent, method, host: "service", port: 8000 }, (response) => {
    response.resume();
    response.on("end", () => answer.writeHead(response.statusCode).end());
  });
  request.on("error", (error) => {
    console.log(`${error.code} on a connection ${request.reusedSocket ? "used before" : "of its own"}`);
    if (retries && request.reusedSocket && error.code === "ECONNRESET") {
      pass(method, answer);
    } else {
      answer.writeHead(502).end();
    }
  });
  request.end();
}

http.createServer((request, answer) => pass(request.method, answer)).listen(80, () => console.log("listening"));

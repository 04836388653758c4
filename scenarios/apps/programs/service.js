// An HTTP server that says hello and keeps idle connections for MS milliseconds: service.js MS
const http = require("http");

const server = http.createServer((request, response) => {
  request.resume();
  response.end("hello\n");
});
server.keepAliveTimeout = Number(process.argv[2]);
server.listen(8000, () => console.log("listening"));

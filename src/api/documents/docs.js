window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  // The default would send the document to a public service for checking.
  validatorUrl: null,
});

// Shows the server-sent events of stream.php while they arrive.
const panel = document.getElementById("stream");
const start = document.getElementById("start");
const progress = document.getElementById("progress");
const status = document.getElementById("status");
const log = document.getElementById("log");

function finish(text, source) {
  source.close();
  status.textContent = text;
  start.disabled = false;
}

start.disabled = false;
start.addEventListener("click", () => {
  start.disabled = true;
  progress.value = 0;
  log.hidden = false;
  log.textContent = "";
  status.textContent = "Waiting for the first event…";
  const begun = performance.now();
  const source = new EventSource(panel.dataset.url);
  source.addEventListener("message", (event) => {
    const { step, of, time, pid } = JSON.parse(event.data);
    const after = Math.round(performance.now() - begun);
    progress.value = step;
    status.textContent = `${step} of ${of}`;
    log.textContent += `+${String(after).padStart(5)} ms   step ${step} at ${time} from process ${pid}\n`;
  });
  source.addEventListener("done", () => finish("Done.", source));
  source.addEventListener("error", () => finish("The stream ended early.", source));
});

/* The search of a site that is read from a folder: browsers start no worker there, so that the
   worker's script runs in a hidden frame. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      addEventListener("message", (event) => {
        if (event.source !== this.inside) return;
        this.dispatchEvent(new MessageEvent("message", {data: event.data}));
      });
      this.inside.document.write(`<script>
        postMessage = (data) => parent.postMessage(data, "*");
        importScripts = (...urls) => Promise.all(urls.map((url) => new Promise((done) => {
          const script = Object.assign(document.createElement("script"), {src: url, onload: done});
          document.head.append(script);
        })));
      <\/script><script src="${url}"><\/script>`);
      this.inside.document.close();
      this.ready = new Promise((done) => frame.addEventListener("load", done));
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", {data})));
    }

    terminate() {
      this.inside.frameElement.remove();
    }
  };
}

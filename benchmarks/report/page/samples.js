/* Samples one by one: image, maps of all methods, and their scores. */
const Browser = class {
  constructor(root) {
    this.root = root;
    this.models = new Map();
    this.film = root.querySelector(".film");
    this.count = root.querySelector(".count");
    this.place = root.querySelector(".sample");
    this.controls = Object.fromEntries(
      [...root.querySelectorAll("select")].map((select) => [select.name, select]),
    );
    this.worstFirst = false;
    this.byScore = false;
    this.over = false;
    this.parts = false;
    this.sample = null;
    this.order = element("button", { type: "button", class: "order" });
    this.order.addEventListener("click", () => {
      this.worstFirst = !this.worstFirst;
      this.list(true);
    });
    this.controls.order.parentElement.after(this.order);
    for (const select of Object.values(this.controls)) {
      const reordered = select.name === "order";
      const change = () => (select.name === "model" ? this.load() : this.list(reordered));
      select.addEventListener("change", change);
    }
    this.film.addEventListener("keydown", (event) => this.key(event));
    root.hidden = false;
    this.load();
  }

  /* A model's data are read once it is chosen. */
  load() {
    const { model, metric, order } = this.controls;
    const chosen = [metric, order].map((select) => select.selectedOptions[0]?.textContent);
    const place = Number(model.value);
    if (!this.models.has(place)) {
      const block = document.getElementById(`${this.root.dataset.name}-data-${place}`);
      this.models.set(place, JSON.parse(block.textContent));
    }
    this.data = this.models.get(place);
    const { metrics, methods } = this.data;
    fill(metric, metrics.map((one, i) => [i, `${one.name}${arrow(one.better)}`]), chosen[0]);
    fill(order, [["", "their number"], ...methods.map((name, i) => [i, name])], chosen[1]);
    this.root.classList.toggle("smooth", this.data.smooth);
    this.table = null;
    this.list();
  }

  get metric() {
    return this.data.metrics[this.controls.metric.value];
  }

  score(method, place) {
    return this.data.scores[this.controls.metric.value][method][place];
  }

  /* Whether a higher score comes first. */
  get highFirst() {
    return (this.metric.better !== "lower") !== this.worstFirst;
  }

  /* Choose and order the samples, and open the first, or the one that was open. */
  list(first = false) {
    const { samples } = this.data;
    const { order, show } = this.controls;
    const right = (one) => one.predicted === one.label;
    const wanted = { right, wrong: (one) => !right(one) }[show.value] ?? (() => true);
    this.shown = samples.map((_, i) => i).filter((i) => wanted(samples[i]));
    const byScore = order.value !== "";
    if (byScore) this.shown = sorted(this.shown, (i) => this.score(order.value, i), this.highFirst);
    const named = this.metric.better ? ["best first", "worst first"] : ["highest first", "lowest first"];
    this.order.textContent = named[Number(this.worstFirst)];
    this.order.disabled = !byScore;
    this.count.textContent = `${this.shown.length} of ${samples.length} images`;
    this.film.replaceChildren(...this.shown.map((i) => this.thumbnail(i)));
    const still = first ? 0 : this.shown.findIndex((i) => samples[i].sample === this.sample);
    this.open(Math.max(still, 0));
  }

  thumbnail(i) {
    const { samples, images } = this.data;
    const { order } = this.controls;
    const one = samples[i];
    const words = order.value === "" ? `#${one.sample}` : number(this.score(order.value, i));
    const button = element(
      "button",
      { type: "button", "aria-label": `Sample ${one.sample}, ${words}`, "data-sample": one.sample },
      images && this.image(images[i], "", 56),
      element("span", {}, words),
    );
    button.addEventListener("click", () => this.open(this.shown.indexOf(i)));
    return button;
  }

  image(content, words, size) {
    return element("img", {
      src: this.data.prefix + content,
      alt: words,
      width: size,
      height: size,
      decoding: "async",
      loading: "lazy",
    });
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (!step) return;
    event.preventDefault();
    this.open(Math.min(Math.max(this.position + step, 0), this.shown.length - 1));
    this.film.children[this.position]?.focus();
  }

  /* Show the sample at a place of the film. */
  open(position) {
    this.position = position;
    const i = this.shown[position];
    [...this.film.children].forEach((button, at) => {
      button.setAttribute("aria-pressed", String(at === position));
      button.tabIndex = at === position ? 0 : -1;
    });
    if (i === undefined) {
      this.place.replaceChildren(element("p", { class: "note" }, "No image is like that."));
      this.table = null;
      return;
    }
    this.sample = this.data.samples[i].sample;
    reveal(this.film, this.film.children[position]);
    if (!this.table) this.build();
    this.who.replaceChildren(...this.facts(i));
    this.maps.replaceChildren(...this.cards(i));
    this.rows(i);
  }

  /* The parts that stay from sample to sample, so that focus stays where it is. */
  build() {
    const { metrics, problems } = this.data;
    const step = (words, by) => {
      const button = element("button", { type: "button", class: by < 0 ? "previous" : "next" }, words);
      button.addEventListener("click", () => this.open(this.position + by));
      return button;
    };
    this.back = step("← previous", -1);
    this.forth = step("next →", 1);
    this.at = element("span", { role: "status" });
    this.who = element("div", { class: "who" });
    this.maps = element("ul", { class: "maps" });
    this.body = element("tbody");
    const toggle = (words, key, then) =>
      checkbox(words, this[key], (checked) => {
        this[key] = checked;
        then();
      });
    const again = () => this.open(this.position);
    this.below = element("span", { class: "quiet" });
    const first = toggle("best map first", "byScore", again);
    const looks = element("div", { class: "looks" }, this.below, first);
    if (this.data.images) looks.append(toggle("over the image", "over", again));
    const rebuilt = () => {
      this.table = null;
      again();
    };
    const parts = metrics.some((one) => one.part)
      ? element("div", { class: "looks" }, toggle("also ROAD at each percentage", "parts", rebuilt))
      : null;
    this.columns = metrics.map((_, i) => i).filter((i) => this.parts || !metrics[i].part);
    const heads = this.columns.map((i) => {
      const { name, better } = metrics[i];
      const data = { scope: "col", "data-sort": "number", "data-better": better };
      return element("th", data, `${name}${arrow(better)}`);
    });
    const method = element("th", { scope: "col", "data-sort": "text" }, "method");
    const table = element(
      "table",
      { class: "scores" },
      element("caption", {}, element("span", {}, "Scores of this image")),
      element("thead", {}, element("tr", {}, method, ...heads)),
      this.body,
    );
    this.table = new SortableTable(table);
    const missing = Object.entries(problems).map(([method, reason]) =>
      element("li", {}, element("b", {}, method), `: no maps: ${reason}`),
    );
    const scroll = { class: "scroll", role: "region", "aria-label": "Scores of this image", tabindex: 0 };
    this.place.replaceChildren(
      element(
        "div",
        { class: "look" },
        element("div", {}, element("div", { class: "step" }, this.back, this.at, this.forth), this.who),
        element("div", {}, this.data.images ? looks : null, this.maps),
      ),
      missing.length ? element("ul", { class: "missing" }, ...missing) : "",
      parts ?? "",
      element("div", scroll, table),
    );
  }

  facts(i) {
    const one = this.data.samples[i];
    this.back.disabled = this.position === 0;
    this.forth.disabled = this.position === this.shown.length - 1;
    this.at.textContent = `${this.position + 1} of ${this.shown.length}`;
    const named = (index, names) => {
      const name = names[index];
      return !name || name === `class ${index}` ? `${index}` : `${index}, ${name}`;
    };
    const { names, labels, images, comparable } = this.data;
    const wrong = comparable && one.predicted !== one.label;
    const pairs = [
      ["sample", `${one.sample}`],
      ["file", one.file],
      ["label", named(one.label, labels)],
      ["predicted", named(one.predicted, names) + (wrong ? " ✗" : "")],
      ["explained", named(one.target, names)],
      ["its probability", number(one.probability)],
      ["its logit", number(one.logit)],
    ];
    const list = pairs.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]);
    const picture = images && this.image(images[i], `Image of sample ${one.sample}`, 224);
    picture?.classList.add("photo");
    return [...(picture ? [picture] : []), element("dl", {}, ...list)];
  }

  cards(i) {
    const { methods, maps, images } = this.data;
    let order = methods.map((_, m) => m).filter((m) => maps[m]);
    if (this.byScore) order = sorted(order, (m) => this.score(m, i), this.metric.better !== "lower");
    const best = this.best(this.controls.metric.value, i);
    this.below.textContent = `Below each map: ${this.metric.name}${arrow(this.metric.better)}`;
    return order.map((m) => {
      const score = this.score(m, i);
      const words = `Map of ${methods[m]}, ${this.metric.name} ${number(score)}`;
      const frame = element("div", { class: this.over ? "frame over" : "frame" });
      if (this.over) frame.append(this.image(images[i], "", 112));
      const map = maps[m][i];
      if (map === null) frame.append(element("span", { class: "none" }, "not finite"));
      else {
        frame.append(this.image(map, words, 112));
        frame.lastChild.classList.add("map");
      }
      const value = element(score !== null && score === best ? "b" : "span", {}, number(score));
      return element("li", {}, frame, element("span", { class: "name" }, methods[m]), value);
    });
  }

  /* The best score of a metric for a sample, over the methods. */
  best(metric, i) {
    const values = this.data.scores[metric].map((row) => row[i]).filter((value) => value !== null);
    if (!values.length || !this.data.metrics[metric].better) return null;
    return this.data.metrics[metric].better === "lower" ? Math.min(...values) : Math.max(...values);
  }

  rows(i) {
    const { methods, scores } = this.data;
    const best = this.columns.map((metric) => this.best(metric, i));
    const rows = methods.map((name, m) => {
      const cells = this.columns.map((metric, column) => {
        const value = scores[metric][m][i];
        const is = value !== null && value === best[column];
        const data = { class: is ? "number best" : "number", "data-value": value };
        return element("td", data, element(is ? "b" : "span", {}, number(value)));
      });
      return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
    });
    this.body.replaceChildren(...rows);
    this.table.remember();
    this.table.sort();
  }
};

for (const root of document.querySelectorAll(".browser")) new Browser(root);

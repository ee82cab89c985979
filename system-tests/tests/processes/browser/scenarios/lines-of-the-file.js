return window.saved[0].text().then((text) => text.trim().split("\n").length);

document.title = "Backstage";

# First isolates by the AMR package, a column a method: Rscript amr_first_isolates.R isolates.csv flagged.csv
# A calendar year is a call of its own without episode length (patient-based); so is a nature; "tested" is filtered first.
library(AMR)
paths <- commandArgs(trailingOnly = TRUE)
isolates <- read.csv(paths[1], colClasses = "character", na.strings = "")
isolates$day <- as.Date(isolates$day)
drugs <- c("CIP", "GEN", "MEM", "CTX")
isolates$mo <- as.mo(isolates$species, keep_synonyms = TRUE)

first <- function(rows, days) {
  if (nrow(rows) == 0) return(logical(0))
  first_isolate(rows,
    col_date = "day", col_patient_id = "person", col_mo = "mo",
    method = if (is.finite(days)) "episode-based" else "patient-based", episode_days = days, info = FALSE
  )
}
within <- function(rows, groups) {
  found <- logical(nrow(rows))
  for (g in unique(groups)) found[groups == g] <- first(rows[groups == g, c("person", "mo", "day")], Inf)
  found
}
for (among in c("all_isolates", "tested")) {
  kept <- if (among == "tested") rowSums(!is.na(isolates[, drugs])) > 0 else rep(TRUE, nrow(isolates))
  rows <- isolates[kept, ]
  year <- format(rows$day, "%Y")
  invasive <- rows$nature %in% c("blood", "csf")
  ears_net <- logical(nrow(rows))
  ears_net[invasive] <- within(rows[invasive, ], year[invasive])
  flags <- list(
    patient = first(rows[, c("person", "mo", "day")], Inf), m39 = within(rows, year), ears_net = ears_net,
    glass = within(rows, paste(year, rows$nature))
  )
  for (n in c(7, 14, 30, 365)) flags[[paste0("episode_", n)]] <- first(rows[, c("person", "mo", "day")], n)
  for (method in names(flags)) {
    column <- integer(nrow(isolates))
    column[kept] <- as.integer(flags[[method]])
    isolates[[paste(among, method, sep = "_")]] <- column
  }
}
isolates$mo <- NULL
write.csv(isolates, paths[2], row.names = FALSE, quote = FALSE, na = "")

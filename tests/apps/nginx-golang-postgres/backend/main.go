package main

import (
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	_ "github.com/lib/pq"
)

func connect() (*sql.DB, error) {
	password, err := os.ReadFile("/run/secrets/db-password")
	if err != nil {
		return nil, err
	}
	return sql.Open("postgres", fmt.Sprintf(
		"postgres://postgres:%s@db:5432/example?sslmode=disable", strings.TrimSpace(string(password))))
}

func main() {
	db, err := connect()
	if err != nil {
		log.Fatal(err)
	}
	for try := 0; try < 60 && db.Ping() != nil; try++ {
		time.Sleep(time.Second)
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS posts (title text)"); err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if _, err := db.Exec("INSERT INTO posts VALUES ($1)", r.FormValue("title")); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		rows, err := db.Query("SELECT title FROM posts")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer rows.Close()
		fmt.Fprintln(w, "Posts:")
		for rows.Next() {
			var title string
			if err := rows.Scan(&title); err == nil {
				fmt.Fprintln(w, title)
			}
		}
	})
	log.Fatal(http.ListenAndServe(":8000", nil))
}
